//! The ground that the proof stands on: containerd, umoci and the plain model see the same tree in a portable
//! stack.

use unbloat_proof::{
    image::{Layout, Packing},
    model::{self, Mask},
    oracle::{self, Containerd, trees_differ},
    stack::{Profile, generate},
    tools::fast_folder,
};

#[test]
fn containerd_umoci_and_the_model_agree_on_portable_stacks() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let stacks: Vec<_> = (1000..1200).map(|seed| generate(seed, Profile::Portable)).collect();
    for stack in &stacks {
        layout.add(&format!("s{}", stack.seed), &stack.tars(), |_| Packing::Gzip(1)).expect("written");
    }
    let archive = folder.path().join("all.tar");
    layout.archive(&archive).expect("an archive");
    let mut containerd = Containerd::start().expect("containerd");
    containerd.import(&archive, "proof.invalid/agree").expect("imported");
    let mut wrong = Vec::new();
    for stack in &stacks {
        let tars = stack.tars();
        let expected = model::merge(&tars).expect("valid");
        let mask = Mask { times: model::invented_times(&tars).expect("valid"), ..Mask::default() };
        let tag = format!("s{}", stack.seed);
        let by_umoci = oracle::unpack(&layout, &tag).expect("umoci unpacks");
        let by_containerd =
            containerd.tree(&format!("proof.invalid/agree:{tag}")).expect("containerd mounts");
        let found = [
            trees_differ("umoci", &expected, &by_umoci, &mask),
            trees_differ("containerd", &expected, &by_containerd, &Mask { root: true, ..mask.clone() }),
        ];
        let found: Vec<String> = found.into_iter().flatten().collect();
        if !found.is_empty() {
            wrong.push(format!("{}{}", stack.describe(), found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} stacks differ\n{}", wrong.len(), wrong.join("\n"));
}
