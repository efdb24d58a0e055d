//! Serves an empty registry on a free loopback port until it is interrupted: `serve [FOLDER]`.

use unbloat_registry_server::{Options, Server, Storage};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let storage = std::env::args().nth(1).map_or(Storage::Memory, |folder| Storage::Folder(folder.into()));
    let server = Server::start(Options { storage, ..Options::default() }).await?;
    println!("{}", server.host());
    std::future::pending().await
}
