//! Prints the stack of a seed and writes it to an OCI layout: `cargo run -p unbloat-proof --example show --
//! portable 7`.

use unbloat_proof::{
    image::{Layout, Packing},
    model,
    stack::{Profile, generate},
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let profile =
        if arguments.first().is_some_and(|name| name == "full") { Profile::Full } else { Profile::Portable };
    for seed in arguments.iter().skip(1).filter_map(|seed| seed.parse().ok()) {
        let stack = generate(seed, profile);
        println!("{}", stack.describe());
        let folder = std::env::temp_dir().join(format!("unbloat-stack-{seed}"));
        let written =
            Layout::create(&folder).and_then(|layout| layout.add("s", &stack.tars(), |_| Packing::Gzip(6)));
        println!("{}: {written:?}", folder.display());
        match model::merge(&stack.tars()) {
            Ok(tree) => println!("merged: {}", model::listing(&tree).escape_debug()),
            Err(error) => println!("refused: {error}"),
        }
    }
}
