//! Bounds what a client can put into the records of its session.
//!
//! The bound is one for all members together, so that an ordinary long name is kept whole.

use callhome_trail::{Record, Text};

/// The most bytes that the line of this record can have, with the members that the chain adds.
pub(super) fn longest_line(record: &Record) -> usize {
    let client = record.client.as_ref();
    let tls = record.tls.as_ref();
    let texts = [
        Some(&record.relay),
        record.listener.as_ref(),
        record.policy.as_ref(),
        record.destination.as_ref(),
        record.error.as_ref(),
        record.target.raw.as_ref(),
        record.target.host.as_ref(),
        client.and_then(|it| it.certificate.as_ref()),
        client.and_then(|it| it.name.as_ref()),
        client.and_then(|it| it.claimed.as_ref()),
        tls.and_then(|it| it.sni.as_ref()),
    ];
    let listed = tls.map_or(0, |it| {
        length_of_list(&it.alpn) + length_of_list(&it.versions)
    });
    let texts = texts.into_iter().flatten();
    FIXED + listed + texts.map(|text| length_in_json(text)).sum::<usize>()
}

/// Cuts what the client or its network has put into a record until its line has at most
/// [`MAX_LINE`] bytes, and returns the most that it can have now. What tells least is cut first.
pub(super) fn fit(record: &mut Record) -> usize {
    let length = longest_line(record);
    let mut over = length.saturating_sub(MAX_LINE);
    if over == 0 {
        return length;
    }
    if let Some(tls) = &mut record.tls {
        cut_list(&mut tls.alpn, &mut over);
        cut_list(&mut tls.versions, &mut over);
    }
    cut(record.error.as_mut(), 96, &mut over);
    // The host tells the same as the raw target.
    let least = if record.target.host.is_some() {
        32
    } else {
        128
    };
    cut(record.target.raw.as_mut(), least, &mut over);
    let certificate = record
        .client
        .as_mut()
        .and_then(|it| it.certificate.as_mut());
    cut(certificate, 48, &mut over);
    let sni = record.tls.as_mut().and_then(|it| it.sni.as_mut());
    cut(sni, 48, &mut over);
    cut(record.error.as_mut(), 48, &mut over);
    longest_line(record)
}

/// Cuts a text to at most `length` bytes in JSON. The middle goes, because a host name's domain and
/// port are at its end.
pub(super) fn shorten(text: &str, length: usize) -> String {
    if length_in_json(text) <= length {
        return text.to_owned();
    }
    let half = length.saturating_sub(CUT.len()) / 2;
    let head: String = within(text.chars(), half).collect();
    let mut tail: Vec<char> = within(text.chars().rev(), half).collect();
    tail.reverse();
    let tail = String::from_iter(tail);
    format!("{head}{CUT}{tail}")
}

/// Takes characters as long as they have at most `length` bytes in JSON.
fn within(chars: impl Iterator<Item = char>, length: usize) -> impl Iterator<Item = char> {
    chars
        .scan(0, |used, char| {
            *used += length_of_char(char);
            Some((*used, char))
        })
        .take_while(move |(used, _)| *used <= length)
        .map(|(_, char)| char)
}

/// Cuts a text by as much as the line is `over` its bound, and leaves `least` bytes of it.
fn cut(text: Option<&mut Text>, least: usize, over: &mut usize) {
    let Some(text) = text.filter(|_| *over > 0) else {
        return;
    };
    let length = length_in_json(text);
    let wanted = length.saturating_sub(*over).max(least);
    if wanted < length {
        *text = shorten(text, wanted).into();
        *over = over.saturating_sub(length - length_in_json(text));
    }
}

/// Takes texts off the end of a list.
fn cut_list(list: &mut Vec<Text>, over: &mut usize) {
    if *over == 0 || list.is_empty() {
        return;
    }
    let length = length_of_list(list);
    let wanted = length.saturating_sub(*over);
    while !list.is_empty() && length_of_list(list) + length_in_json(CUT) + QUOTES > wanted {
        list.pop();
    }
    list.push(CUT.into());
    *over = over.saturating_sub(length.saturating_sub(length_of_list(list)));
}

fn length_of_list(list: &[Text]) -> usize {
    list.iter().map(|text| length_in_json(text) + QUOTES).sum()
}

fn length_in_json(text: &str) -> usize {
    text.bytes().map(length_of_byte).sum()
}

fn length_of_char(char: char) -> usize {
    match char {
        '\0'..='\x7f' => length_of_byte(char as u8),
        char => char.len_utf8(),
    }
}

fn length_of_byte(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// The most bytes that a session's line may have.
pub(super) const MAX_LINE: usize = 2048;
/// The most bytes that the rest of a session's line has: keys, numbers, addresses, hashes and words
/// of the program.
const FIXED: usize = 1250;
/// The quotes and the comma of a text in a list.
const QUOTES: usize = 3;
/// Stands for what was cut. It is ASCII, as all that a client can put into a record is.
const CUT: &str = "...";
