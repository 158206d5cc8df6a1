//! A machine's clock and boot id that a test sets, for a relay that runs as a process.
//!
//! A small library that the process loads first answers in place of the C library. The clock that
//! nobody can set runs on as it is.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, relay};

pub(crate) struct FakeClock(TempDir);

impl FakeClock {
    /// Shows the right time, on the machine's own boot.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("clock.c"), SOURCE).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(path("clock.so"))
            .arg(path("clock.c"))
            .status();
        assert!(built.unwrap().success());
        fs::write(path("offset"), 0_i64.to_ne_bytes()).unwrap();
        let clock = Self(directory);
        clock.boot(0);
        clock
    }

    /// Sets the clock this many seconds off the right time, also for a relay that runs.
    pub(crate) fn set(&self, seconds: i64) {
        let path = self.0.path().join("offset");
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Boots the machine anew, for relays that start later.
    pub(crate) fn boot(&self, n: u32) {
        let id = format!("00000000-0000-4000-8000-{n:012}\n");
        fs::write(self.0.path().join("boot"), id).unwrap();
    }

    /// Runs `serve` on the directory's file, by this clock.
    pub(crate) fn serve(&self, directory: &Path) -> Process {
        let mut command = relay();
        command
            .args(["serve", "--config"])
            .arg(directory.join("relay.toml"))
            .env("LD_PRELOAD", self.0.path().join("clock.so"))
            .env("FAKE_CLOCK", self.0.path());
        Process::spawn(command)
    }
}

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset;
static char boot[4096];

/* The map lasts, so the sandbox later has nothing to forbid. */
__attribute__((constructor)) static void load(void) {
    char path[4096];
    const char *directory = getenv("FAKE_CLOCK");
    snprintf(path, sizeof path, "%s/offset", directory);
    snprintf(boot, sizeof boot, "%s/boot", directory);
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    offset = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, id, now);
    if (result == 0 && id == CLOCK_REALTIME) now->tv_sec += *offset;
    return result;
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    if (strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) path = boot;
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
"#;
