//! Copies an image from anywhere to anywhere: `copy SOURCE DESTINATION [PLATFORM…]`.

use unbloat_oci::Platform;
use unbloat_registry::{Client, ClientOptions, Keyring, Location, copy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let source: Location = arguments.next().ok_or("the source is missing")?.parse()?;
    let destination: Location = arguments.next().ok_or("the destination is missing")?.parse()?;
    let platforms: Vec<Platform> = arguments.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let client =
        Client::new(ClientOptions { keyring: Keyring::from_environment()?, ..ClientOptions::default() });
    let report =
        copy(&client.source(&source).await?, &client.destination(&destination).await?, &platforms).await?;
    println!("{report:#?}");
    Ok(())
}
