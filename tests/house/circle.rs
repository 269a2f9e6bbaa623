//! Who uses whom among the children of one folder of modules, and the shortest circle in that.

use std::collections::{BTreeMap, VecDeque};

/// From and to, with one place that says so.
pub type Edges<Place> = BTreeMap<Edge, Place>;
type Edge = (String, String);

/// The shortest circle, each edge with its place; empty if there is none.
pub fn shortest<Place: Clone>(edges: &Edges<Place>) -> Vec<(Edge, Place)> {
    let circles = edges.keys().filter_map(|(from, to)| {
        let mut circle = way(edges, to, from)?;
        circle.insert(0, (from.clone(), to.clone()));
        Some(circle)
    });
    let shortest = circles.min_by_key(Vec::len).unwrap_or_default();
    shortest.into_iter().filter_map(|edge| Some((edge.clone(), edges.get(&edge)?.clone()))).collect()
}

/// The shortest way between two, by edges.
fn way<Place>(edges: &Edges<Place>, from: &str, to: &str) -> Option<Vec<Edge>> {
    let mut ways = BTreeMap::from([(from, Vec::new())]);
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            return ways.remove(at);
        }
        for (start, next) in edges.keys().filter(|(start, _)| start == at) {
            if !ways.contains_key(next.as_str()) {
                let mut way = ways[at].clone();
                way.push((start.clone(), next.clone()));
                ways.insert(next, way);
                queue.push_back(next);
            }
        }
    }
    None
}
