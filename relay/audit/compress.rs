//! Names, compresses and deletes closed segments.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use callhome_trail::segments::{Segment, compressed};

use super::files;

/// Compresses closed segments one after the other, on its own thread, so that the writer doesn't
/// wait.
#[derive(Debug)]
pub(super) struct Compressor {
    jobs: Option<mpsc::Sender<PathBuf>>,
    thread: Option<JoinHandle<()>>,
}

impl Compressor {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<PathBuf>();
        let thread = thread::Builder::new().name("compress".into()).spawn(move || {
            for path in queue {
                if let Err(error) = compress(&path) {
                    // The plain segment stays, and readers take it as it is.
                    tracing::warn!(path = %path.display(), %error, "a closed segment of the trail stays uncompressed");
                }
            }
        })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(super) fn compress(&self, path: PathBuf) {
        if let Some(jobs) = &self.jobs {
            // The send can't fail, because the thread ends only with this value.
            let _ = jobs.send(path);
        }
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes the compressed segment beside the plain one, and deletes the plain one only when the
/// other is durable.
fn compress(path: &Path) -> io::Result<()> {
    let target = compressed(path);
    let mut temporary = target.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let source = match File::open(path) {
        Ok(file) => file,
        // The segment was pruned before its turn came.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if is_hollow(&source.metadata()?) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "most of it was never written",
        ));
    }
    let written = write_compressed(source, temporary);
    if let Err(error) = written.and_then(|()| fs::rename(temporary, &target)) {
        // On a full disk the room of half a file is needed for records.
        let _ = fs::remove_file(temporary);
        return Err(error);
    }
    files::sync_directory(&target)?;
    match fs::remove_file(path) {
        // The segment was pruned meanwhile, so it must not come back under another name.
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_file(target),
        result => result,
    }
}

fn write_compressed(mut source: File, to: &Path) -> io::Result<()> {
    let file = files::create(to)?;
    let mut encoder = zstd::Encoder::new(BufWriter::new(file), LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(&mut source, &mut encoder)?;
    let file = encoder
        .finish()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// Whether a file is larger than any that a relay writes, and takes little room on the disk. To
/// read it could take days.
fn is_hollow(file: &Metadata) -> bool {
    file.len() >= 4 << 30 && file.blocks() * 512 < file.len() / 2
}

/// Returns a free name for a segment that is closed.
///
/// Two segments can begin with the same record: one that failed, and the one that replaced it. Both
/// are kept.
pub(super) fn free_name(directory: &Path, first: u64) -> PathBuf {
    let name = directory.join(format!("access-{first:012}.jsonl"));
    let taken = |path: &Path| path.exists() || compressed(path).exists();
    if !taken(&name) {
        return name;
    }
    (1..=u32::MAX)
        .map(|n| directory.join(format!("access-{first:012}-{n}.jsonl")))
        .find(|path| !taken(path))
        .unwrap_or(name)
}

/// Deletes a segment, plain or compressed. It is no failure if the segment is gone already.
pub(super) fn delete(segment: &Segment) -> io::Result<()> {
    for path in [segment.path.clone(), compressed(&segment.path)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Zstandard's own default.
const LEVEL: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_finished_leaves_no_half_file() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("access-000000000001.jsonl");
        fs::write(&plain, vec![b'a'; 100_000]).unwrap();
        // A directory can't be replaced by a file, so the last step fails.
        fs::create_dir(compressed(&plain)).unwrap();
        compress(&plain).unwrap_err();
        let names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(plain.exists());
    }
}
