//! A trail to tamper with, and the ways to do it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callhome_relay::audit::{AuditOptions, Sync};
use callhome_trail::verify::Broken;
use callhome_trail::{Data, Hash, Line, RelayStopped};

use crate::support::trail::{options, start};

/// A segment's lines, each with its line feed.
pub(super) type Lines = Vec<Vec<u8>>;

/// A trail as it was written, and a copy to tamper with.
pub(super) struct Trail {
    original: PathBuf,
    pub(super) copy: PathBuf,
    pub(super) segments: Vec<(String, Lines)>,
    pub(super) records: u64,
}

/// Where the first bad record has to be reported.
pub(super) struct Expected {
    segment: usize,
    /// The line from 0, or none where any line of the segment may be reported.
    line: Option<usize>,
}

/// Gives numbers that look random and are the same in every run (xorshift64).
pub(super) struct Numbers(pub(super) u64);

impl Trail {
    /// Writes this many records into `original`, in about five segments of which most are
    /// compressed.
    pub(super) fn write(directory: &Path, records: usize) -> Self {
        let original = directory.join("original");
        let copy = directory.join("copy");
        fs::create_dir(&copy).unwrap();
        let options = AuditOptions {
            sync: Sync::Never,
            ..options(&original, 60 * records as u64)
        };
        let (audit, writer) = start(&options);
        // A checkpoint begins the trail, and one ends it.
        for n in 0..records - 2 {
            let data = RelayStopped {
                cause: "test".into(),
                tunnels_cut: n,
            };
            audit.relay_event(Data::RelayStopped(data));
            if n.is_multiple_of(records / 50) {
                // Without a pause all records would go in one write, and so in one segment.
                std::thread::sleep(Duration::from_millis(7));
            }
        }
        writer.close();
        // Closing waits for the compression. Put one segment back to its state just before.
        let mut names: Vec<_> = fs::read_dir(&original)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("access"))
            .collect();
        names.sort_by_key(|name| (name == "access.jsonl", name.clone()));
        let plain = names[1].strip_suffix(".zst").unwrap().to_owned();
        let text = content(&original.join(&names[1]));
        fs::write(original.join(&plain), text).unwrap();
        fs::remove_file(original.join(&names[1])).unwrap();
        names[1] = plain;

        let segments: Vec<_> = names
            .into_iter()
            .map(|name| {
                let text = content(&original.join(&name));
                let lines: Lines = text
                    .split_inclusive(|byte| *byte == b'\n')
                    .map(<[u8]>::to_vec)
                    .collect();
                (name, lines)
            })
            .collect();
        let written: usize = segments.iter().map(|it| it.1.len()).sum();
        assert_eq!(written, records);
        Self {
            original,
            copy,
            segments,
            records: records as u64,
        }
    }

    /// Restores segments of the copy, and the files that lie beside them.
    pub(super) fn restore(&self, segments: impl IntoIterator<Item = usize>) {
        let names = segments.into_iter().map(|n| self.segments[n].0.as_str());
        for name in names.chain(["head.json", "seals.jsonl"]) {
            fs::copy(self.original.join(name), self.copy.join(name)).unwrap();
        }
    }

    /// Edits the copy. Returns what was done, the segment to restore, and where the edit has to be
    /// found.
    pub(super) fn edit(
        &self,
        edit: usize,
        numbers: &mut Numbers,
    ) -> (&'static str, usize, Expected) {
        let at = numbers.below(self.segments.len());
        let is_last = at + 1 == self.segments.len();
        let mut lines = self.segments[at].1.clone();
        let line = numbers.below(lines.len());
        let here = |line| Expected {
            segment: at,
            line: Some(line),
        };
        // A gap shows in the record behind it, or at the very end in the one before.
        let behind = |line: usize, count: usize| {
            if line < count {
                here(line)
            } else if is_last {
                here(count - 1)
            } else {
                Expected {
                    segment: at + 1,
                    line: Some(0),
                }
            }
        };
        let (what, expected) = match edit % 9 {
            0 => {
                let length = lines[line].len() - 1;
                let byte = &mut lines[line][numbers.below(length)];
                let bit = 1 << numbers.below(8);
                *byte ^= bit;
                ("a changed bit", here(line))
            }
            1 => {
                let text = String::from_utf8(lines[line].clone()).unwrap();
                let time = text.find("\"time\":\"2").unwrap() + 8;
                lines[line].splice(time..time + 4, *b"1999");
                ("a changed member", here(line))
            }
            2 => {
                lines.remove(line);
                ("a removed record", behind(line, lines.len()))
            }
            3 => {
                // Removing all lines would be a removed segment.
                let line = line.max(1);
                let count = 1 + numbers.below(lines.len() - line);
                lines.drain(line..line + count);
                ("removed records", behind(line, lines.len()))
            }
            4 => {
                // Leave the first line alone, because a segment that follows a failed one may begin
                // with records read before.
                let line = 1 + numbers.below(lines.len() - 1);
                let other = numbers.below(lines.len());
                let inserted = lines[other].clone();
                lines.insert(line, inserted);
                // Of two equal lines in a row, the second is the one that was inserted.
                let second = line + usize::from(other == line);
                ("a record that stands twice", here(second))
            }
            5 => {
                let forged = forge(&lines[line]);
                lines.insert(line, forged);
                (
                    "an inserted record with a hash of its own",
                    Expected {
                        segment: at,
                        line: None,
                    },
                )
            }
            6 => {
                let other = numbers.below(lines.len());
                if other == line {
                    lines[line].insert(1, b' ');
                } else {
                    lines.swap(line, other);
                }
                ("records in another order", here(line.min(other)))
            }
            7 => {
                let length = lines[line].len();
                lines[line].truncate(numbers.below(length));
                lines.truncate(line + 1);
                (
                    "a cut",
                    if is_last {
                        Expected {
                            segment: at,
                            line: None,
                        }
                    } else {
                        Expected {
                            segment: at + 1,
                            line: Some(0),
                        }
                    },
                )
            }
            _ => {
                let other = numbers.below(self.segments.len());
                let (what, expected) = self.edit_files(at, other);
                return (what, at, expected);
            }
        };
        put(&self.copy.join(&self.segments[at].0), &lines.concat());
        (what, at, expected)
    }

    /// Replaces a segment by another's content, or removes it.
    fn edit_files(&self, at: usize, other: usize) -> (&'static str, Expected) {
        let path = self.copy.join(&self.segments[at].0);
        let what = if other == at {
            fs::remove_file(path).unwrap();
            "a removed segment"
        } else {
            put(&path, &self.segments[other].1.concat());
            "a segment replaced by another"
        };
        let is_last = at + 1 == self.segments.len();
        // A copy is beside its original, and is read first if its name comes first.
        let (segment, line) = match (other == at + 1, is_last) {
            (true, _) => (at, Some(0)),
            (_, true) => (at - 1, None),
            _ => (at + 1, Some(0)),
        };
        (what, Expected { segment, line })
    }

    pub(super) fn assert_place(&self, broken: &Broken, expected: &Expected, what: &str) {
        let name = &self.segments[expected.segment].0;
        let wanted = (
            self.copy.join(name),
            expected.line.map(|line| line as u64 + 1),
        );
        let found = (
            broken.place.file.clone(),
            wanted.1.map(|_| broken.place.line),
        );
        assert_eq!(found, wanted, "{what}: {broken}");
    }
}

impl Numbers {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Returns the record with a changed member and the matching hash.
fn forge(line: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(line).unwrap();
    let hashed = &text[..text.find(",\"hash\":").unwrap()];
    let hashed = hashed.replace("\"relay\":\"test\"", "\"relay\":\"tent\"");
    let forged = format!("{hashed},\"hash\":\"{}\"}}\n", Hash::of(hashed.as_bytes()));
    assert!(Line::parse(forged.trim_end().as_bytes()).is_ok());
    forged.into_bytes()
}

fn content(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if is_compressed(path) {
        zstd::decode_all(&*bytes).unwrap()
    } else {
        bytes
    }
}

pub(super) fn put(path: &Path, text: &[u8]) {
    let bytes = if is_compressed(path) {
        zstd::encode_all(text, 1).unwrap()
    } else {
        text.to_vec()
    };
    fs::write(path, bytes).unwrap();
}

pub(super) fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}
