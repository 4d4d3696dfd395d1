//! A plain reader of requests that the screen let pass. It checks nothing, since there is nothing left to check, and shares
//! no line with the screen.

/// One request as a server would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in small letters, values without white space around them.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// Whether its body has ended.
    pub(crate) is_whole: bool,
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_slice())
    }
}

/// All requests whose heads are whole.
pub(crate) fn requests(mut octets: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    loop {
        while let Some(rest) = octets.strip_prefix(b"\r\n") {
            octets = rest;
        }
        let Some((head, rest)) = split(octets, b"\r\n\r\n") else { return requests };
        let (request, rest) = request(head, rest);
        requests.push(request);
        octets = rest;
    }
}

fn request<'a>(head: &[u8], rest: &'a [u8]) -> (Request, &'a [u8]) {
    let mut lines = lines(head);
    let line = String::from_utf8(lines.next().unwrap().to_vec()).unwrap();
    let mut words = line.split(' ');
    let mut request = Request {
        method: words.next().unwrap().to_owned(),
        target: words.next().unwrap().to_owned(),
        fields: Vec::new(),
        body: Vec::new(),
        is_whole: true,
    };
    for line in lines {
        let (name, value) = split(line, b":").unwrap();
        let name = String::from_utf8(name.to_ascii_lowercase()).unwrap();
        request.fields.push((name, value.trim_ascii().to_vec()));
    }
    let rest = if request.field("transfer-encoding").is_some() {
        chunks(&mut request, rest)
    } else {
        let length = request.field("content-length").map_or(0, |value| {
            std::str::from_utf8(value).unwrap().parse::<u64>().unwrap().try_into().unwrap_or(usize::MAX)
        });
        let (body, rest) = rest.split_at(length.min(rest.len()));
        request.is_whole = body.len() == length;
        request.body.extend_from_slice(body);
        rest
    };
    (request, rest)
}

fn chunks<'a>(request: &mut Request, mut octets: &'a [u8]) -> &'a [u8] {
    request.is_whole = false;
    while let Some((line, rest)) = split(octets, b"\r\n") {
        let size = line.split(|octet| *octet == b';').next().unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(size).unwrap(), 16).unwrap();
        if size == 0 {
            let end = if rest.starts_with(b"\r\n") {
                Some(&rest[2..])
            } else {
                split(rest, b"\r\n\r\n").map(|it| it.1)
            };
            request.is_whole = end.is_some();
            return end.unwrap_or_default();
        }
        request.body.extend_from_slice(&rest[..size.min(rest.len())]);
        let Some(next) = rest.get(size + 2..) else { return &[] };
        octets = next;
    }
    &[]
}

fn split<'a>(octets: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = octets.windows(at.len()).position(|window| window == at)?;
    Some((&octets[..place], &octets[place + at.len()..]))
}

fn lines(mut head: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (line, rest) = split(head, b"\r\n").unwrap_or((head, &[]));
        head = rest;
        (!line.is_empty()).then_some(line)
    })
}
