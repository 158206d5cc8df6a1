//! Starts, measures and ends a process with its children.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

/// A process and its present descendants.
#[derive(Clone, Copy)]
pub(crate) struct Tree(u32);

/// A process that was started here. Dropping this value ends it.
pub(crate) struct Process(Child);

impl Tree {
    pub(crate) fn of(root: u32) -> Self {
        Self(root)
    }

    /// User and system time since each process began.
    pub(crate) fn cpu(self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for pid in self.pids()? {
            let stat = stat(pid)?;
            // utime and stime are the 14th and 15th of proc(5), the state being the third.
            for field in stat.split(' ').skip(11).take(2) {
                ticks += field.parse::<u64>()?;
            }
        }
        Ok(Duration::from_millis(ticks * (1000 / TICKS_PER_SECOND)))
    }

    /// The proportional set size (proc(5), `smaps_rollup`).
    pub(crate) fn pss_kib(self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for pid in self.pids()? {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let pss = rollup
                .lines()
                .find_map(|line| line.strip_prefix("Pss:")?.strip_suffix(" kB"))
                .context("smaps_rollup has no Pss")?;
            sum += pss.trim().parse::<u64>()?;
        }
        Ok(sum)
    }

    fn pids(self) -> anyhow::Result<Vec<u32>> {
        let mut parents: Vec<(u32, u32)> = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may have ended since the directory was read.
            if let Some(parent) = stat(pid)
                .ok()
                .and_then(|s| s.split(' ').nth(1)?.parse().ok())
            {
                parents.push((pid, parent));
            }
        }
        let mut tree = vec![self.0];
        let mut next = 0;
        while let Some(&member) = tree.get(next) {
            tree.extend(
                parents
                    .iter()
                    .filter(|(_, p)| *p == member)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        Ok(tree)
    }
}

/// The fields of /proc/PID/stat from the third on. The second is a name in parentheses that may
/// hold spaces and parentheses itself.
fn stat(pid: u32) -> anyhow::Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
    Ok(fields.to_owned())
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("{} doesn't start", command.get_program().display()))?;
        Ok(Self(child))
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::of(self.0.id())
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    /// Kills the proxy, because its orderly end isn't measured.
    fn drop(&mut self) {
        // This fails only if the process has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The kernel's `USER_HZ`, which is 100 on every architecture that the relay runs on.
const TICKS_PER_SECOND: u64 = 100;
