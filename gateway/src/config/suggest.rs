//! "Did you mean": the nearest known name to one that is not known.

use super::table::{self, TABLE};

/// The candidate that a slip of the finger away from which `name` is.
pub(super) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().min(name.len()) / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What to say of a key that the table does not hold below `schema`.
pub(super) fn unknown_key(name: &str, schema: &str) -> String {
    let here = table::children(schema);
    if let Some(near) = nearest(name, here.iter().copied()) {
        return format!("unknown key; did you mean '{near}'?");
    }
    let elsewhere = TABLE.iter().find(|key| key.path.rsplit('.').next() == Some(name));
    if let Some(key) = elsewhere {
        return format!("unknown key; did you mean '{}'?", key.path);
    }
    format!("unknown key; known here are {}", here.join(", "))
}

/// A name that was read, made fit for a terminal and a line.
pub(super) fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// The variable of ours that this one was meant to be. Names that do not begin
/// like ours are none of our business.
pub(super) fn near_variable<'k>(name: &str, known: &'k [String]) -> Option<&'k str> {
    let ours = name.starts_with("BROKER_") || name.starts_with("DAEMON_");
    if !ours {
        return None;
    }
    let sorted = |name: &str| {
        let mut words: Vec<_> = name.split('_').map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    let reordered = known.iter().find(|known| sorted(known) == sorted(name));
    let slip = || {
        known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(name, known), known))
            .filter(|(distance, _)| *distance <= 2)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known)
    };
    reordered.or_else(slip).map(String::as_str)
}
