//! `[[destination]]` and the keys of the preset: what may be reached.

use callhome_settings::{Findings, Problem, Size};
use ipnet::IpNet;

use super::places::RulePlaces;
use crate::config::file::{DestinationTable, File};
use crate::config::preset;
use crate::config::words::{GroupWord, PresetWord};
use crate::policy::{Destination, Origin, Purpose, SniRule, UPLOAD_MIN_BYTES};

/// Returns the preset's destinations and then the site's, which replace those of the same name.
pub(super) fn destinations(
    file: &File,
    findings: &mut Findings,
) -> (Vec<Destination>, Vec<RulePlaces>) {
    let ranges = findings.read_some(
        "zerto_v9_ip_ranges",
        file.zerto_v9_ip_ranges.as_ref(),
        "remove the key: the v9 host is then allowed at any globally reachable address",
    );
    let listed = of_preset(file, ranges.as_deref(), findings);
    let groups = preset::groups(file);
    let in_use = listed.iter().filter(|(group, _)| groups.contains(group));
    let mut destinations: Vec<_> = in_use.map(|(_, it)| it.clone()).collect();
    if ranges.is_some() && !destinations.iter().any(|it| it.ip_ranges.is_some()) {
        findings.warn(format!(
            "zerto_v9_ip_ranges guards nothing: the preset's {} is not in use",
            preset::GUARDED
        ));
    }
    findings.unique("destination", file.destination.iter().map(|it| &it.name));
    let mut places: Vec<_> = destinations.iter().map(|_| RulePlaces::default()).collect();
    for written in &file.destination {
        let Some(destination) = of_site(written, &listed, findings) else {
            continue;
        };
        let replaced = destinations
            .iter()
            .position(|other| other.origin != Origin::Site && other.name == destination.name);
        if let Some(replaced) = replaced {
            let guarded = destinations.remove(replaced);
            places.remove(replaced);
            if guarded.ip_ranges.is_some() && destination.ip_ranges.is_none() {
                findings.warn(format!(
                    "the site's destination {} replaces the preset's and drops zerto_v9_ip_ranges: \
                     it needs ip_ranges of its own",
                    destination.name
                ));
            }
        }
        destinations.push(destination);
        places.push(
            RulePlaces::of_rule(&written.name.span)
                .with(written.hosts.as_ref())
                .with(written.ip_ranges.as_ref())
                .with(written.addresses.as_ref()),
        );
    }
    if destinations
        .iter()
        .all(|it| it.hosts.is_empty() && it.ip_ranges.is_none())
    {
        findings.warn("the allowlist is empty: every request will be refused");
    }
    (destinations, places)
}

/// Returns every destination of the preset, with its group.
fn of_preset(
    file: &File,
    ranges: Option<&[IpNet]>,
    findings: &mut Findings,
) -> Vec<(GroupWord, Destination)> {
    if preset::chosen(file) == PresetWord::None {
        if file.preset_groups.is_some() {
            findings.warn("preset_groups has no effect with preset = \"none\"");
        }
        return Vec::new();
    }
    preset::list(ranges).unwrap_or_else(|message| {
        let title = format!("the list in this binary is damaged: {message}");
        findings.problem(Problem::new(None, title));
        Vec::new()
    })
}

/// Returns a destination of the site, or nothing if it has no readable name.
///
/// What it leaves out of purpose, versions and minimum it has from the entry of its name in
/// `listed`, also where the group of that entry isn't in use. Otherwise a replaced billing host
/// would silently count no upload.
fn of_site(
    written: &DestinationTable,
    listed: &[(GroupWord, Destination)],
    findings: &mut Findings,
) -> Option<Destination> {
    let name = findings.read(&written.name);
    let same = |(_, entry): &&(GroupWord, Destination)| {
        name.as_ref().is_some_and(|name| name.0 == entry.name)
    };
    let replaced = listed.iter().find(same).map(|(_, entry)| entry);
    if written.hosts.is_none() && written.ip_ranges.is_none() {
        findings.problem(
            Problem::new(
                written.name.span.clone(),
                "the destination has neither `hosts` nor `ip_ranges`",
            )
            .help("add the names of its hosts; `hosts = []` matches none"),
        );
    }
    let sni = written
        .sni
        .as_ref()
        .map_or(SniRule::Match, |it| it.value.into());
    if let Some(tls_only) = &written.tls_only
        && !tls_only.value
        && sni != SniRule::Any
    {
        let mut problem = Problem::new(
            tls_only.span.clone(),
            "`tls_only = false` leaves no ClientHello whose name could be checked",
        )
        .help("add `sni = \"any\"`");
        if let Some(sni) = &written.sni {
            problem = problem.also(sni.span.clone(), "asks for the check");
        }
        findings.problem(problem);
    }
    let ports = match &written.ports {
        Some(ports) => {
            findings.refuse_empty("ports", ports, "remove the key for port 443");
            ports.value.iter().map(|port| port.value.get()).collect()
        }
        None => vec![443],
    };
    let hosts = findings.read_all(written.hosts.as_ref());
    let ip_ranges = findings.read_some(
        "ip_ranges",
        written.ip_ranges.as_ref(),
        "remove the key only if every globally reachable address is meant",
    );
    let addresses = findings.read_some(
        "addresses",
        written.addresses.as_ref(),
        "remove the key to ask DNS",
    );
    let versions = match &written.versions {
        Some(versions) => findings.read(versions),
        None => replaced.and_then(|entry| entry.versions),
    };
    let upload_min_bytes = match &written.upload_min_bytes {
        Some(size) => findings.read(size).map(|Size(bytes)| bytes as u64),
        None => replaced.map(|entry| entry.upload_min_bytes),
    };
    let purpose = match &written.purpose {
        Some(purpose) => purpose.value.into(),
        None => replaced.map_or(Purpose::Other, |entry| entry.purpose),
    };
    Some(Destination {
        name: name?.0,
        hosts,
        ports,
        ip_ranges,
        addresses,
        purpose,
        versions,
        upload_min_bytes: upload_min_bytes.unwrap_or(UPLOAD_MIN_BYTES),
        sni,
        literals_without_sni: written.literals_without_sni.unwrap_or(false),
        tls_only: written.tls_only.as_ref().is_none_or(|it| it.value),
        origin: Origin::Site,
    })
}
