//! What the catalogue of a large image costs in memory. Alone in its process, so that nothing else is
//! counted.

mod tars;
use tars::{PATHS, many_paths};

#[test]
fn a_path_costs_less_than_250_bytes() {
    let before = resident();
    let catalogue = many_paths();
    let after = resident();
    assert!(catalogue.len() > PATHS);
    let each = after.saturating_sub(before) as f64 / catalogue.len() as f64;
    println!("{} paths, {} events, {each:.0} bytes a path", catalogue.len(), catalogue.events_len());
    // Among it what the allocator keeps of the time when the catalogue was made, and the tars of two layers,
    // near 50 bytes a path.
    assert!(each < 250.0, "{each:.0} bytes a path");
}

/// Resident memory of this process, in bytes (`proc_pid_statm(5)`).
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: u64 = text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    pages * 4096
}
