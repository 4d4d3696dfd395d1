//! Shows one refusal in each form that HTTP knows: `cargo run -p adit-errors --example refuse -- UPSTREAM_TIMEOUT`.

use adit_errors::{Code, Format, Refusal, RequestId, SpellingError, Style};

fn main() -> Result<(), SpellingError> {
    let code = std::env::args().nth(1).unwrap_or_else(|| "RATE_LIMITED".to_owned());
    let envelope = Refusal::from(Code::parse(&code)?).with_request_id(RequestId::from_random(0x5eed));
    println!("who may fix it: {}\n", envelope.fixer());
    for format in [Format::Json, Format::Problem, Format::Plain] {
        let style = Style::new().with_format(format);
        println!("HTTP {}", envelope.status());
        for (name, value) in envelope.fields(&style) {
            println!("{name}: {value}");
        }
        println!("\n{}\n", String::from_utf8_lossy(&envelope.to_body(&style)));
    }
    Ok(())
}
