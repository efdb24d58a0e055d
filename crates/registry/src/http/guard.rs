//! Which addresses a client may connect to.
//!
//! A client that works for strangers is sent where they cannot go themselves: by an image's name, a redirect,
//! a token's realm, an upload's location, a name that resolves to an address inside. So each URL is asked
//! about when it is about to be used, and each name after it was resolved, by the connection itself: a name
//! cannot mean one address when it is checked and another one when it is connected to.
//!
//! Through a proxy, names are resolved by the proxy: it has to refuse what it must not reach. Only addresses
//! in URLs are refused here then.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Addresses that are never a registry's for somebody else: this machine, its links and what clouds put
/// there.
const OWN: [&str; 8] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/3",
    "::/127",
    "fe80::/10",
    "fd00:ec2::/32",
    "ff00::/8",
];
/// Addresses of private networks, clusters' among them.
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "fc00::/7"];

/// A network, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// It is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 10.0.0.0/8 or fd00::/8")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || NetworkError(text.chars().take(64).collect());
        let (address, prefix) = text.trim().split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(invalid)?;
        Ok(Self { address, prefix })
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let same = |ours: u128, theirs: u128, bits: u8| {
            let shift = u32::from(bits - self.prefix);
            ours.checked_shr(shift).unwrap_or(0) == theirs.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                same(u32::from(ours).into(), u32::from(theirs).into(), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(ours.into(), theirs.into(), 128),
            _ => false,
        }
    }
}

/// What a client refuses to connect to.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    refused: Vec<Network>,
    hosts: Vec<String>,
}

impl Guard {
    /// Refuses this machine, link-local addresses and clouds' metadata servers.
    #[must_use]
    pub fn own() -> Self {
        Self::default().and_refuses(OWN.iter().filter_map(|network| network.parse().ok()))
    }

    /// Refuses private networks as well.
    #[must_use]
    pub fn private() -> Self {
        Self::own().and_refuses(PRIVATE.iter().filter_map(|network| network.parse().ok()))
    }

    /// Refuses what the words say: `Own` as [`Guard::own`], `Private` as [`Guard::private`], or networks.
    ///
    /// # Errors
    /// [`NetworkError`] with the word that is none of these.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, NetworkError> {
        words.into_iter().try_fold(Self::default(), |guard, word| {
            Ok(match word {
                "Own" => guard.and_refuses(Self::own().refused),
                "Private" => guard.and_refuses(Self::private().refused),
                network => guard.and_refuses([network.parse()?]),
            })
        })
    }

    /// Refuses these as well.
    #[must_use]
    pub(crate) fn and_refuses(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.refused.extend(networks);
        self
    }

    /// But for these hosts, by their names without a port.
    #[must_use]
    pub fn but_for(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.hosts.extend(hosts);
        self
    }

    /// Whether a URL may be asked, as far as it names an address itself.
    pub(crate) fn lets(&self, url: &Url) -> bool {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            _ => return true,
        };
        self.is_excepted(&url.host_str().unwrap_or_default().replace(['[', ']'], "")) || self.takes(address)
    }

    fn is_excepted(&self, host: &str) -> bool {
        self.hosts.iter().any(|excepted| excepted.eq_ignore_ascii_case(host))
    }

    fn takes(&self, address: IpAddr) -> bool {
        let refuses = |address: IpAddr| self.refused.iter().any(|network| network.contains(address));
        !refuses(address) && !embedded(address).is_some_and(|inner| refuses(IpAddr::V4(inner)))
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, translated (RFC 6052) or tunnelled (RFC 3056).
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let bytes = address.octets();
    let at = |from: usize| Ipv4Addr::new(bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]);
    let translated: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
    if bytes[..12] == translated.octets()[..12] || bytes[..12] == [0; 12] {
        return Some(at(12));
    }
    address.to_ipv4_mapped().or_else(|| (bytes[..2] == [0x20, 0x02]).then(|| at(2)))
}

/// Resolves names as the system does, and lets through what the guard takes.
#[derive(Debug)]
pub(crate) struct GuardedNames(pub(crate) Arc<Guard>);

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let excepted = guard.is_excepted(&host);
            let taken: Vec<SocketAddr> =
                found.into_iter().filter(|address| excepted || guard.takes(address.ip())).collect();
            if taken.is_empty() {
                let refusal: Box<dyn StdError + Send + Sync> =
                    format!("{host} is at an address that must not be connected to").into();
                return Err(refusal);
            }
            let addresses: Addrs = Box::new(taken.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets(guard: &Guard, url: &str) -> bool {
        guard.lets(&url.parse().unwrap())
    }

    #[test]
    fn addresses_of_this_machine_and_of_its_links_are_refused_however_they_are_written() {
        for url in [
            "http://127.0.0.1/",
            "http://127.8.8.8:5000/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0.0.0.0/",
            "http://169.254.169.254/latest/meta-data",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:7f00:1::]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://255.255.255.255/",
        ] {
            assert!(!lets(&Guard::own(), url), "{url}");
            assert!(!lets(&Guard::private(), url), "{url}");
        }
        for url in ["https://93.184.216.34/", "https://[2606:2800::1]/", "https://registry.example/"] {
            assert!(lets(&Guard::private(), url), "{url}");
        }
    }

    #[test]
    fn private_networks_are_refused_where_that_is_asked_for() {
        for url in [
            "http://10.0.0.1/",
            "http://172.31.0.1/",
            "http://192.168.1.1/",
            "http://[fd12::1]/",
            "http://100.64.0.1/",
        ] {
            assert!(!lets(&Guard::private(), url), "{url}");
            assert!(lets(&Guard::own(), url), "{url}");
        }
        assert!(lets(&Guard::private(), "http://172.32.0.1/"));
        let more = Guard::own().and_refuses(["203.0.113.0/24".parse().unwrap()]);
        assert!(!lets(&more, "http://203.0.113.7/") && lets(&more, "http://203.0.114.7/"));
        let excepted = Guard::private().but_for(["10.0.0.7".to_owned()]);
        assert!(lets(&excepted, "http://10.0.0.7:5000/") && !lets(&excepted, "http://10.0.0.8:5000/"));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let resolve = async |guard: Guard| {
            let name: Name = "localhost".parse().unwrap();
            GuardedNames(Arc::new(guard)).resolve(name).await.is_ok()
        };
        assert!(!resolve(Guard::own()).await);
        assert!(resolve(Guard::own().but_for(["localhost".to_owned()])).await);
        assert!(resolve(Guard::default()).await);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("8.8.8.8".parse().unwrap()));
    }
}
