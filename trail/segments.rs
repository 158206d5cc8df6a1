//! The files of a trail: one that is written, and closed segments that are compressed and in the end pruned.
//!
//! | name | is |
//! |---|---|
//! | `access.jsonl` | the segment being written |
//! | `access-NNNNNNNNNNNN.jsonl` | a closed one; the number is its first record's |
//! | `access-NNNNNNNNNNNN.jsonl.zst` | the same, compressed (Zstandard, RFC 8878) |
//!
//! Names are for people: whoever reads a trail orders its segments by what is in them.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
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
    /// False where not one line is a record: then its place is what its name says.
    pub readable: bool,
}

/// The segments of a directory in the order of their records, the one being written last. One that is damaged has its place too,
/// so that what is wrong with it is found where it is; only an empty one is left out.
pub fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for _ in 0..MAX_TRIES {
        let mut is_current = true;
        segments.clear();
        for path in paths(directory)? {
            match Segment::read(&path) {
                Ok(segment) => segments.extend(segment),
                // Closed, compressed or pruned since the directory was read: it may be there under another name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => is_current = false,
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

/// The segments, and the one being written held open: by the time that it is read, its name may be another's.
pub fn list_held(directory: &Path) -> io::Result<(Vec<Segment>, Option<File>)> {
    let path = directory.join(ACTIVE);
    loop {
        let held = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let segments = list(directory)?;
        let held_is = held.as_ref().map(File::metadata).transpose()?;
        let named_is = path.metadata().ok();
        // One may have come and gone between two looks that found none.
        let is_listed = segments.iter().any(|segment| is_active(&segment.path));
        if held_is.as_ref().map(inode) == named_is.as_ref().map(inode)
            && (held.is_some() || !is_listed)
        {
            return Ok((segments, held));
        }
    }
}

/// What a file is, whatever it is called. No two have the same while one of them is open.
pub fn inode(file: &Metadata) -> Inode {
    (file.dev(), file.ino())
}

pub type Inode = (u64, u64);

/// The files of a directory that hold records.
pub fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let stem = name.strip_suffix(".zst").unwrap_or(name);
        let closed = stem
            .strip_suffix(".jsonl")
            .is_some_and(|stem| stem.starts_with("access-"));
        if closed || name == ACTIVE {
            paths.push(path);
        }
    }
    // A crash between the last two steps of compressing leaves both; the plain one is whole.
    let plain: Vec<_> = paths.iter().map(|path| compressed(path)).collect();
    paths.retain(|path| !plain.contains(path));
    Ok(paths)
}

/// Opens a plain or compressed file of records.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    decode(path, File::open(path)?)
}

/// The same for a file that is open; its name says whether it is compressed.
pub fn decode(
    path: &Path,
    file: impl Read + Send + 'static,
) -> io::Result<Box<dyn BufRead + Send>> {
    if path.extension() == Some(OsStr::new("zst")) {
        return Ok(Box::new(BufReader::with_capacity(
            BUFFER,
            zstd::Decoder::new(file)?,
        )));
    }
    Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
}

/// Opens a listed segment, whether the compressor has been at it since or not, and tells its name.
pub fn open_listed(path: &Path) -> io::Result<(PathBuf, File)> {
    match File::open(path) {
        // The compressed one is there before the plain one goes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = compressed(path);
            File::open(&path).map(|file| (path, file))
        }
        file => Ok((path.to_owned(), file?)),
    }
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

pub fn is_active(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new(ACTIVE))
}

impl Segment {
    /// None where there is nothing in it.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut input = open(path)?;
        let size = path.metadata()?.len();
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            // An error here is damage, as in a compressed segment that was cut; whoever reads on comes upon it.
            let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut bytes);
            if !read.is_ok_and(|length| length > 0) {
                break;
            }
            let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            if let Ok(line) = Line::parse(line) {
                return Ok(Some(Self {
                    path: path.to_owned(),
                    first: line.seq,
                    prev: line.prev,
                    time: line.time.parse().unwrap_or_default(),
                    size,
                    readable: true,
                }));
            }
        }
        Ok((size > 0).then(|| Self {
            path: path.to_owned(),
            first: number_in_name(path).unwrap_or(u64::MAX),
            prev: Hash::GENESIS,
            time: jiff::Timestamp::UNIX_EPOCH,
            size,
            readable: false,
        }))
    }

    /// The name that the segment has now; the compressor may have been at it.
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
/// No record is longer: its texts are bounded.
pub const MAX_LINE: u64 = 256 * 1024;
const BUFFER: usize = 256 * 1024;
/// A directory doesn't change so often while it is listed; a name that leads nowhere is left out in the end.
const MAX_TRIES: usize = 10;
