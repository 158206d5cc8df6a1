//! Closed segments: their names, their compression, their deletion.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use callhome_trail::segments::{Segment, compressed};

use super::files;

/// Compresses closed segments, one after the other, on a thread of its own.
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
                    // The plain segment stays, and counts as it is.
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
            // The thread ends only with this value.
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

/// Writes the compressed segment beside the plain one, makes it durable, and only then lets the plain one go.
fn compress(path: &Path) -> io::Result<()> {
    let target = compressed(path);
    let mut temporary = target.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut source = match File::open(path) {
        Ok(file) => file,
        // Pruned before its turn came.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let file = files::create(Path::new(&temporary))?;
    let mut encoder = zstd::Encoder::new(BufWriter::new(file), LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(&mut source, &mut encoder)?;
    let file = encoder
        .finish()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&temporary, &target)?;
    files::sync_directory(&target)?;
    match fs::remove_file(path) {
        // Pruned meanwhile: it must not come back under another name.
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_file(target),
        result => result,
    }
}

/// The name that a segment gets when it is closed. One that failed at once begins with the same record as the one that replaces
/// it; both are kept.
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

/// Deletes a segment under either name. A segment that is gone already is no failure.
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
