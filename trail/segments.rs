//! The files of a trail: one that is being written, and closed ones that are compressed and later
//! pruned.
//!
//! | name | is |
//! |---|---|
//! | `access.jsonl` | the segment being written |
//! | `access-NNNNNNNNNNNN.jsonl` | a closed one; the number is its first record's |
//! | `access-NNNNNNNNNNNN.jsonl.zst` | the same, compressed (Zstandard, RFC 8878) |
//!
//! The names are for people. Readers order segments by the records in them, because a name can be
//! changed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::chain::Line;
use crate::hash::Hash;

/// A segment, and how it begins.
#[derive(Clone, Debug)]
pub struct Segment {
    pub path: PathBuf,
    pub first: u64,
    pub prev: Hash,
    pub time: jiff::Timestamp,
    /// Bytes on the disk.
    pub size: u64,
    /// False if no line of it is a record. Its place is then taken from its name.
    pub readable: bool,
}

/// Lists the segments of a directory in the order of their records, the one being written last.
///
/// A damaged segment has its place too, so that the damage is found where it is. Only an empty one
/// is left out.
pub fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for _ in 0..MAX_TRIES {
        let mut is_current = true;
        segments.clear();
        for path in all_paths(directory)? {
            let is_active = is_active(&path);
            match Segment::open(&path) {
                Ok(segment) => segments.extend(segment),
                // The segment was closed after the directory was read. It has another name now.
                Err(error) if error.kind() == io::ErrorKind::NotFound && is_active => {
                    is_current = false;
                }
                // It was pruned.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if is_current {
            break;
        }
    }
    segments.sort_by_cached_key(|segment| {
        let path = segment.path.clone();
        (segment.first, is_active(&path), path)
    });
    Ok(segments)
}

/// Lists the segments, and opens the one being written.
///
/// It is held open because its name changes when it is closed. A reader that opened it by name
/// later could miss its records, or get those of the next segment.
pub fn list_held(directory: &Path) -> io::Result<(Vec<Segment>, Option<File>)> {
    let path = directory.join(ACTIVE);
    let mut tries = 0;
    loop {
        let held = match open_file(&path) {
            Ok(file) => Some(file),
            // What isn't a file isn't listed either.
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(error),
        };
        let segments = list(directory)?;
        let held_is = held.as_ref().map(File::metadata).transpose()?;
        let named_is = path.metadata().ok().filter(Metadata::is_file);
        // Take the list only if the active file was the same before and after, or absent
        // throughout.
        let is_listed = segments.iter().any(|segment| is_active(&segment.path));
        if held_is.as_ref().map(inode) == named_is.as_ref().map(inode)
            && (held.is_some() || !is_listed)
        {
            return Ok((segments, held));
        }
        tries += 1;
        if tries == MAX_HELD_TRIES {
            return up_to_held(path, segments, held);
        }
    }
}

/// Takes the segments up to the one that is held, where segments are closed faster than they are
/// listed. Those before it were closed before it was opened, so the list has them all.
fn up_to_held(
    path: PathBuf,
    mut segments: Vec<Segment>,
    held: Option<File>,
) -> io::Result<(Vec<Segment>, Option<File>)> {
    let mut last = None;
    if let Some(mut file) = held.as_ref() {
        let input = BufReader::with_capacity(BUFFER, file);
        last = Segment::read(path, file.metadata()?.len(), input);
        file.rewind()?;
    }
    let first = last.as_ref().map(|last| last.first);
    segments.retain(|it| !is_active(&it.path) && first.is_none_or(|first| it.first < first));
    let is_empty = last.is_none();
    segments.extend(last);
    Ok((segments, held.filter(|_| !is_empty)))
}

/// The identity of a file, independent of its name. No two files share it while one of them is
/// open.
pub fn inode(file: &Metadata) -> Inode {
    (file.dev(), file.ino())
}

pub type Inode = (u64, u64);

/// Lists the files of a directory that hold records.
pub fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let stem = name.strip_suffix(".zst").unwrap_or(name);
        let closed = stem
            .strip_suffix(".jsonl")
            .is_some_and(|stem| stem.starts_with("access-"));
        let is_named = closed || name == ACTIVE;
        // A pipe would hold a reader up for ever, and a device would never end.
        if is_named && (entry.file_type()?.is_file() || path.is_file()) {
            paths.push(path);
        }
    }
    // A crash between the last two steps of compressing leaves both files. The plain one is whole.
    let plain: HashSet<_> = paths.iter().map(|path| compressed(path)).collect();
    paths.retain(|path| !plain.contains(path));
    Ok(paths)
}

/// Lists the files twice, because one that is compressed meanwhile may be missed under both of its
/// names.
fn all_paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = paths(directory)?;
    let known: HashSet<_> = all.iter().map(|path| uncompressed(path)).collect();
    let more = paths(directory)?.into_iter();
    all.extend(more.filter(|path| !known.contains(&uncompressed(path))));
    Ok(all)
}

/// Opens a plain or compressed file of records.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    decode(path, File::open(path)?)
}

/// Decodes a file that is open. Its name tells whether it is compressed.
pub fn decode(
    path: &Path,
    file: impl Read + Send + 'static,
) -> io::Result<Box<dyn BufRead + Send>> {
    if is_compressed(path) {
        return Ok(Box::new(BufReader::with_capacity(
            BUFFER,
            zstd::Decoder::new(file)?,
        )));
    }
    Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
}

/// Opens a listed segment, also if it was compressed meanwhile, and returns its name.
pub fn open_listed(path: &Path) -> io::Result<(PathBuf, File)> {
    match open_file(path) {
        // The compressed file is in place before the plain one is deleted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = compressed(path);
            open_file(&path).map(|file| (path, file))
        }
        file => Ok((path.to_owned(), file?)),
    }
}

/// Opens a file of a directory that others may write to. Anything but a regular file is refused, as
/// a pipe would hold the reader up for ever.
///
/// # Errors
///
/// The file can't be opened, or is none.
pub fn open_file(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_file() {
        let message = format!("{}: it isn't a file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    File::open(path)
}

/// Whether an error of [`open_file`] says that there is no file of that name.
pub fn is_absent(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::NotFound || kind == io::ErrorKind::InvalidInput
}

fn number_in_name(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_prefix("access-")?;
    let end = name.find(|c: char| !c.is_ascii_digit())?;
    name[..end].parse().ok()
}

pub fn compressed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".zst");
    name.into()
}

/// The name without the ending of a compressed file.
pub fn uncompressed(path: &Path) -> PathBuf {
    if is_compressed(path) {
        path.with_extension("")
    } else {
        path.to_owned()
    }
}

pub fn is_compressed(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("zst"))
}

pub fn is_active(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new(ACTIVE))
}

impl Segment {
    /// Opens a segment that was listed, also if it was compressed meanwhile. Returns none if it is
    /// empty.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let (path, file) = open_listed(path)?;
        let size = file.metadata()?.len();
        let input = decode(&path, file)?;
        Ok(Self::read(path, size, input))
    }

    /// Reads how a segment begins. Returns none if it is empty.
    fn read(path: PathBuf, size: u64, mut input: impl BufRead) -> Option<Self> {
        let mut bytes = Vec::new();
        for _ in 0..MAX_DAMAGED {
            bytes.clear();
            // An error here is damage, as in a compressed segment that was cut. A reader will come
            // upon it.
            let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut bytes);
            if !read.is_ok_and(|length| length > 0) {
                break;
            }
            let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            if let Ok(line) = Line::parse(line) {
                return Some(Self {
                    path,
                    first: line.seq,
                    prev: line.prev,
                    time: line.time.parse().unwrap_or_default(),
                    size,
                    readable: true,
                });
            }
        }
        (size > 0).then(|| Self {
            first: number_in_name(&path).unwrap_or(u64::MAX),
            path,
            prev: Hash::GENESIS,
            time: jiff::Timestamp::UNIX_EPOCH,
            size,
            readable: false,
        })
    }

    /// The name that the segment has now, because it may have been compressed since it was listed.
    pub fn current_path(&self) -> PathBuf {
        let compressed = compressed(&self.path);
        if compressed.exists() && !self.path.exists() {
            compressed
        } else {
            self.path.clone()
        }
    }
}

pub const ACTIVE: &str = "access.jsonl";
/// The longest line. No record is longer, because its texts are bounded.
pub const MAX_LINE: u64 = 256 * 1024;
/// The number of lines in a row that are looked through for a record. A file that somebody laid
/// here may have no end.
pub const MAX_DAMAGED: usize = 64;
const BUFFER: usize = 256 * 1024;
/// How often a directory that changes is listed again. After that, a name that leads nowhere is
/// left out.
const MAX_TRIES: usize = 10;
/// How often it is listed again for an active segment that stays.
const MAX_HELD_TRIES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;

    #[test]
    fn a_list_ends_with_the_segment_that_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let active = directory.path().join(ACTIVE);
        let mut chain = Chain::new("t".into());
        let mut write = |path: &Path| {
            let mut line = Vec::new();
            chain.append(jiff::Timestamp::UNIX_EPOCH, br#""event":"a""#, &mut line);
            fs::write(path, line).unwrap();
        };
        let closed = |first: u64| directory.path().join(format!("access-{first:012}.jsonl"));
        write(&closed(1));
        write(&active);
        let held = open_file(&active).unwrap();
        // The one that is held is closed while the directory is listed, and so is the next.
        fs::rename(&active, closed(2)).unwrap();
        write(&closed(3));
        write(&active);
        let segments = list(directory.path()).unwrap();
        assert_eq!(segments.len(), 4);
        let (segments, held) = up_to_held(active, segments, Some(held)).unwrap();
        let firsts: Vec<_> = segments.iter().map(|segment| segment.first).collect();
        assert_eq!(firsts, [1, 2]);
        assert!(is_active(&segments[1].path));
        let mut text = String::new();
        held.unwrap().read_to_string(&mut text).unwrap();
        assert!(text.starts_with(r#"{"v":1,"trail":"t","seq":2,"#), "{text}");
    }
}
