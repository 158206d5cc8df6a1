//! Finds circles of imports between siblings. Siblings are modules of one parent, and the modules
//! inside of a sibling count for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::reader::Import;
use super::tree::ModulePath;

/// Holds siblings each of which imports each other one, directly or by way of the rest.
#[derive(Debug)]
pub(super) struct Tangle {
    pub(super) parent: ModulePath,
    pub(super) names: Vec<String>,
    /// Each import between the siblings is in one of these, and in the shortest there is.
    pub(super) circles: Vec<Circle>,
}

/// Holds the imports that lead from a sibling to the next, and from the last to the first.
#[derive(Debug)]
pub(super) struct Circle {
    pub(super) imports: Vec<Import>,
    names: Vec<String>,
}

/// Maps a sibling to those that it imports, each with the first import that leads there.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a Import>>;

pub(super) fn tangles(imports: &[Import]) -> Vec<Tangle> {
    let mut found: Vec<Tangle> = Vec::new();
    for (parent, graph) in graphs(imports) {
        let mut left: BTreeSet<&str> = graph.keys().copied().collect();
        while let Some(first) = left.pop_first() {
            let mut names = vec![first];
            names.extend(left.iter().copied().filter(|other| {
                shortest(&graph, first, other).is_some() && shortest(&graph, other, first).is_some()
            }));
            left.retain(|name| !names.contains(name));
            if names.len() > 1 {
                found.push(Tangle {
                    parent: parent.clone(),
                    circles: circles(&graph, &names),
                    names: names.into_iter().map(str::to_owned).collect(),
                });
            }
        }
    }
    found
}

fn circles(graph: &Graph<'_>, names: &[&str]) -> Vec<Circle> {
    let mut rings = BTreeSet::new();
    for &from in names {
        for &to in graph[from].keys() {
            rings.extend(shortest(graph, to, from).map(from_the_first_name));
        }
    }
    rings.iter().map(|names| circle(graph, names)).collect()
}

/// Draws the graph of the siblings below each parent.
fn graphs(imports: &[Import]) -> BTreeMap<ModulePath, Graph<'_>> {
    let mut graphs: BTreeMap<ModulePath, Graph<'_>> = BTreeMap::new();
    for import in imports {
        if let Some((parent, from, to)) = siblings(&import.from, &import.to) {
            let graph = graphs.entry(parent).or_default();
            graph.entry(from).or_default().entry(to).or_insert(import);
        }
    }
    graphs
}

/// Finds the siblings that two modules are in, and their parent. There are none when one module is
/// inside of the other.
fn siblings<'a>(
    from: &'a ModulePath,
    to: &'a ModulePath,
) -> Option<(ModulePath, &'a str, &'a str)> {
    let depth = from.0.iter().zip(&to.0).take_while(|(a, b)| a == b).count();
    let (from_name, to_name) = (from.0.get(depth)?, to.0.get(depth)?);
    let parent = ModulePath(from.0[..depth].to_vec());
    Some((parent, from_name, to_name))
}

/// Finds the shortest way along imports. Both ends are part of it.
fn shortest<'a>(graph: &Graph<'a>, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
    let mut came_from = BTreeMap::from([(from, from)]);
    let mut next = VecDeque::from([from]);
    while let Some(name) = next.pop_front() {
        if name == to {
            let mut way = vec![to];
            while way[way.len() - 1] != from {
                way.push(came_from[way[way.len() - 1]]);
            }
            way.reverse();
            return Some(way);
        }
        for &target in graph.get(name).into_iter().flat_map(BTreeMap::keys) {
            came_from.entry(target).or_insert_with(|| {
                next.push_back(target);
                name
            });
        }
    }
    None
}

/// Turns a circle to its first name in the alphabet. Otherwise it would be found once a name.
fn from_the_first_name(mut names: Vec<&str>) -> Vec<&str> {
    let first = names
        .iter()
        .enumerate()
        .min_by_key(|(_, name)| **name)
        .map_or(0, |(at, _)| at);
    names.rotate_left(first);
    names
}

fn circle(graph: &Graph<'_>, names: &[&str]) -> Circle {
    let next = names.iter().cycle().skip(1);
    let imports = names.iter().zip(next);
    Circle {
        imports: imports.map(|(from, to)| graph[from][to].clone()).collect(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// Writes the ring, and then a line with the place of each import.
impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ring())?;
        for Import { from, to, place } in &self.imports {
            write!(f, "\n        {place}: {from} imports {to}")?;
        }
        Ok(())
    }
}

impl Circle {
    /// Gives the names in the form `a -> b -> a`.
    pub(super) fn ring(&self) -> String {
        format!("{} -> {}", self.names.join(" -> "), self.names[0])
    }
}
