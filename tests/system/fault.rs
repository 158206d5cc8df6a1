//! System calls that go wrong while a file exists, by a library that is loaded before the C
//! library.

use std::fs;
use std::path::Path;

use crate::foreign::tools;

pub(crate) struct Fault {
    library: String,
    file: String,
}

impl Fault {
    /// The call that the variable `FAULTY` names doesn't return. It may be `fdatasync` or
    /// `connect`.
    pub(crate) fn hanging(directory: &Path) -> Self {
        Self::compile(directory, HANGING)
    }

    /// `fdatasync` and `fsync` fail with EIO.
    pub(crate) fn failing(directory: &Path) -> Self {
        Self::compile(directory, FAILING)
    }

    /// `fdatasync` and `fsync` take 200 ms, as on a disk that is shared with others.
    pub(crate) fn slow(directory: &Path) -> Self {
        Self::compile(directory, SLOW)
    }

    fn compile(directory: &Path, text: &str) -> Self {
        tools::need(&["stdlib.h"]);
        let source = directory.join("fault.c");
        fs::write(&source, text).unwrap();
        let library = directory.join("fault.so");
        let compiled = tools::command("cc")
            .args(["-shared", "-fPIC", "-D_GNU_SOURCE", "-o"])
            .arg(&library)
            .arg(&source)
            .status()
            .unwrap();
        assert!(compiled.success());
        Self {
            library: library.display().to_string(),
            file: directory.join("fault").display().to_string(),
        }
    }

    /// Returns the variables that the relay's environment needs.
    pub(crate) fn environment(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", &self.library), ("FAULT", &self.file)]
    }

    pub(crate) fn begin(&self) {
        fs::write(&self.file, "").unwrap();
    }

    pub(crate) fn end(&self) {
        fs::remove_file(&self.file).unwrap();
    }
}

const HANGING: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void hang(const char *call) {
    const char *faulty = getenv("FAULTY"), *file = getenv("FAULT");
    while (!strcmp(call, faulty) && access(file, F_OK) == 0) usleep(10000);
}

int fdatasync(int fd) { hang("fdatasync"); return syscall(SYS_fdatasync, fd); }

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    hang("connect");
    return syscall(SYS_connect, fd, address, length);
}
"#;

const FAILING: &str = r#"
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(void) {
    const char *file = getenv("FAULT");
    return file && access(file, F_OK) == 0;
}

int fdatasync(int fd) {
    if (fails()) { errno = EIO; return -1; }
    return syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    if (fails()) { errno = EIO; return -1; }
    return syscall(SYS_fsync, fd);
}
"#;

const SLOW: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void wait(void) {
    const char *file = getenv("FAULT");
    if (file && access(file, F_OK) == 0) usleep(200000);
}

int fdatasync(int fd) { wait(); return syscall(SYS_fdatasync, fd); }
int fsync(int fd) { wait(); return syscall(SYS_fsync, fd); }
"#;
