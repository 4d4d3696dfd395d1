#!/usr/bin/env bash
# Other people's clients against the example gateway: openssl, curl and a headless Chromium, each with a tunnel whose TLS
# the gateway ends and with one whose TLS only the agent ends. What isn't installed is said so and left out; the exit code
# is 0 only if nothing that was tried failed.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --quiet -p adit-examples --bin gateway --bin agent
bin=${CARGO_TARGET_DIR:-target}/debug
folder=$(mktemp -d)
started=()
tried=0 failed=0

finish() {
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$folder"
}
trap finish EXIT

# Waits until command "$@" succeeds, 20 s at most.
await() {
    for _ in $(seq 200); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "clients.sh: never came true: $*" >&2
    tail -n 20 "$folder"/*.log >&2
    exit 1
}

# Runs the command behind the name; its output has to hold the text between. A client that hangs has failed.
check() {
    local name=$1 expected=$2 output
    shift 2
    tried=$((tried + 1))
    if output=$(timeout 60 "$@" </dev/null 2>&1) && grep -qF -- "$expected" <<<"$output"; then
        echo "ok    $name"
    else
        failed=$((failed + 1))
        printf 'FAIL  %s: no `%s` in:\n%s\n' "$name" "$expected" "$output"
    fi
}

# The same for what must not succeed.
refused() {
    local name=$1 expected=$2
    shift 2
    check "$name" "$expected" bash -c '! "$@"' refused "$@"
}

have() { command -v "$1" >/dev/null || { echo "skip  $1 is not installed"; return 1; }; }

RUST_LOG=adit_examples=debug "$bin/gateway" --state "$folder/gateway" --agents 127.0.0.1:0 --http 127.0.0.1:0 \
    --https 127.0.0.1:0 --admin 127.0.0.1:0 >"$folder/gateway.out" 2>>"$folder/gateway.log" &
started+=($!)
await grep -q ADIT_SECRET "$folder/gateway.out"
told() { sed -n "s|^$1 *\(https\?://\)\?\([0-9.:]*\).*|\2|p" "$folder/gateway.out"; }
https=$(told https) port=${https##*:} ca=$folder/gateway/ca.pem
ADIT_SECRET=$(sed -n 's/.*ADIT_SECRET=//p' "$folder/gateway.out")
export ADIT_SECRET ADIT_CA=$ca

# What they forward to is the gateway's own health page: every machine that runs this has it.
upstream=$(told admin)
for tunnel in "http my-app" "tls my-vault"; do
    read -r kind name <<<"$tunnel"
    "$bin/agent" "$kind" "$upstream" --name "$name" --gateway "$(told agents)" --state "$folder/$name" \
        >"$folder/$name.out" 2>"$folder/$name.log" &
    started+=($!)
    await grep -q "$name.adit.localhost" "$folder/$name.out"
done

for name in my-app my-vault; do
    host=$name.adit.localhost
    if have openssl; then
        connect=(openssl s_client -connect "$https" -servername "$host" -CAfile "$ca" -verify_hostname "$host"
            -verify_return_error)
        for version in 1_2 1_3; do
            check "openssl, TLS ${version/_/.}, $name" "Verification: OK" "${connect[@]}" "-tls$version"
        done
    fi
    if have curl; then
        fetch=(curl --silent --show-error --cacert "$ca" --resolve "$host:$port:127.0.0.1" "https://$host:$port/health"
            --write-out '%{http_code} %{http_version}')
        check "curl, TLS 1.2, $name" "200 1.1" "${fetch[@]}" --tls-max 1.2 --http1.1
        check "curl, TLS 1.3, $name" "200 1.1" "${fetch[@]}" --tlsv1.3 --http1.1
    fi
done

if have openssl; then
    refused "openssl, a name that nobody serves" "unrecognized name" \
        openssl s_client -connect "$https" -servername "my-app.other.example"
    refused "openssl, no name at all" "alert" openssl s_client -connect "$https" -noservername
    refused "openssl, TLS 1.1" "alert" openssl s_client -connect "$https" -servername my-app.adit.localhost -tls1_1 \
        -cipher DEFAULT@SECLEVEL=0
    # It asks for new keys by a second hello, and would wait for an answer for ever: of two hellos one is answered.
    check "openssl, renegotiation" "1 of 2" bash -c '
        said=$({ sleep 1; echo R; sleep 1; } | timeout 5 openssl s_client -msg "$@" 2>&1 || true)
        echo "$(grep -c ", ServerHello$" <<<"$said") of $(grep -c ", ClientHello$" <<<"$said")"' renegotiate \
        -connect "$https" -servername my-app.adit.localhost -CAfile "$ca" -tls1_2
fi
if have curl && curl --version | grep -q HTTP2; then
    check "curl, HTTP/2, my-app" "200 2" curl --silent --show-error --cacert "$ca" --http2 \
        --resolve "my-app.adit.localhost:$port:127.0.0.1" "https://my-app.adit.localhost:$port/health" \
        --write-out '%{http_code} %{http_version}'
fi

# Chromium knows the certificates by their keys, as its own switch for tests wants it, and finds *.localhost by itself.
if have chromium && have openssl; then
    keys=()
    for name in my-app my-vault; do
        keys+=("$(openssl s_client -connect "$https" -servername "$name.adit.localhost" </dev/null 2>/dev/null |
            openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64)")
    done
    browse=(chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run
        --disable-background-networking --disable-component-update --disable-sync
        --user-data-dir="$folder/chromium" --ignore-certificate-errors-spki-list="$(IFS=,; echo "${keys[*]}")")
    for name in my-app my-vault; do
        : >"$folder/gateway.log"
        check "chromium, $name" "ok" "${browse[@]}" --dump-dom "https://$name.adit.localhost:$port/health"
        check "its hello has a post-quantum key share" "post_quantum=true" cat "$folder/gateway.log"
    done
fi

echo "$((tried - failed)) of $tried hold"
[ "$failed" = 0 ]
