//! nginx and HAProxy as SNI routers, with one worker each.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running proxy that forwards by the name in the ClientHello.
pub(crate) struct Foreign {
    pub(crate) address: SocketAddr,
    process: Child,
    folder: PathBuf,
}

impl Foreign {
    /// nginx with `ssl_preread`, or why there is none.
    pub(crate) fn nginx(upstream: SocketAddr) -> Result<Self, String> {
        let module =
            ["/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/share/nginx/modules/ngx_stream_module.so"];
        let module = module.iter().find(|module| Path::new(module).exists());
        let load = module.map_or_else(String::new, |module| format!("load_module {module};"));
        Self::start("nginx", |folder, address| {
            let folder = folder.display();
            let text = format!(
                "{load} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log;
                 events {{ worker_connections 1024; }}
                 stream {{
                     map $ssl_preread_server_name $to {{ {} {upstream}; default 127.0.0.1:1; }}
                     server {{ listen {address}; ssl_preread on; proxy_pass $to; }}
                 }}",
                adit_benches::hello::HOST
            );
            (text, vec!["-c".to_owned(), format!("{folder}/config"), "-p".to_owned(), folder.to_string()])
        })
    }

    /// HAProxy with an SNI rule, or why there is none.
    pub(crate) fn haproxy(upstream: SocketAddr) -> Result<Self, String> {
        Self::start("haproxy", |folder, address| {
            let text = format!(
                "global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend public
    bind {address}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    use_backend tunnel if {{ req.ssl_sni -i {} }}
backend tunnel
    server upstream {upstream}
",
                adit_benches::hello::HOST
            );
            (text, vec!["-db".to_owned(), "-f".to_owned(), format!("{}/config", folder.display())])
        })
    }

    fn start(
        program: &str,
        configure: impl FnOnce(&Path, SocketAddr) -> (String, Vec<String>),
    ) -> Result<Self, String> {
        if Command::new(program).arg("-v").output().is_err() {
            return Err(format!("{program} is not installed"));
        }
        let folder = std::env::temp_dir().join(format!("adit-bench-{program}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let address = free();
        let (text, arguments) = configure(&folder, address);
        std::fs::write(folder.join("config"), text).unwrap();
        let quiet = || Stdio::from(std::fs::File::create(folder.join("output")).unwrap());
        let process = Command::new(program).args(arguments).stdout(quiet()).stderr(quiet()).spawn().unwrap();
        let started = Self { address, process, folder };
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Ok(started);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let output = std::fs::read_to_string(started.folder.join("output")).unwrap_or_default();
        Err(format!("{program} does not listen: {output}"))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SIGTERM lets nginx end its worker; a kill would leave that behind.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
