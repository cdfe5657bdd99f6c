//! Which addresses a notification may go to.
//!
//! Users choose addresses and the server makes the requests, so a request could reach what only the
//! server can. Link-local addresses are always refused: cloud machines serve credentials there, and
//! no receiver has one. Internal networks are where most receivers are and are allowed unless the
//! operator says otherwise. The check is made on the addresses that a connection will use: on those
//! written in the URL here, on those a name stands for in [`FilteredDns`], and again at each redirect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which addresses are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// All but link-local ones.
    Private,
    /// Only those of the public internet.
    Public,
}

impl Reach {
    /// Whether a connection may be made to `address`.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        let allowed =
            |v4: Ipv4Addr| !is_link_local(v4) && (self == Reach::Private || !is_private(v4));
        match address {
            IpAddr::V4(v4) => allowed(v4),
            IpAddr::V6(v6) => match embedded(v6) {
                Some(v4) => allowed(v4),
                None => !is_link_local_v6(v6) && (self == Reach::Private || !is_private_v6(v6)),
            },
        }
    }

    /// Checks what can be seen from the URL alone.
    ///
    /// # Errors
    /// Why it is refused, without the parts of the URL that may be secret.
    pub(crate) fn check(self, url: &Url) -> Result<(), String> {
        if !["http", "https"].contains(&url.scheme()) {
            return Err(format!("scheme {} is refused", url.scheme()));
        }
        let host = url.host_str().ok_or("the URL has no host")?;
        let literal =
            host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match literal.parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => Err(format!("address {address} is refused")),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn is_link_local(v4: Ipv4Addr) -> bool {
    /// Metadata services of clouds that are not link-local.
    const METADATA: [[u8; 4]; 3] = [[100, 100, 100, 200], [192, 0, 0, 192], [168, 63, 129, 16]];
    v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || METADATA.contains(&v4.octets())
}

fn is_private(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmarking = a == 198 && (b == 18 || b == 19);
    let protocol = a == 192 && b == 0 && c == 0;
    a == 0 || a >= 240 || v4.is_private() || v4.is_loopback() || shared || benchmarking || protocol
}

fn is_link_local_v6(v6: Ipv6Addr) -> bool {
    /// The metadata service of a large cloud has this unique local address.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    v6.is_unicast_link_local() || v6.is_multicast() || v6 == METADATA
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local()
}

/// The IPv4 address that packets to `v6` end at, where a known mapping says so.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => from(g, h),
        (0, 0, 0, 0, 0, 0) if g != 0 => from(g, h),
        (0x2002, high, low, ..) => from(high, low),
        _ => None,
    }
}

/// Resolves names, leaving out the addresses that are not allowed.
pub(crate) struct FilteredDns(pub(crate) Reach);

impl Resolve for FilteredDns {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let host: Arc<str> = name.as_str().into();
            let found = tokio::net::lookup_host((&*host, 0)).await?;
            Ok(Box::new(allowed(reach, &host, found)?.into_iter()) as Addrs)
        })
    }
}

fn allowed(
    reach: Reach,
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, String> {
    let allowed: Vec<SocketAddr> = found.filter(|found| reach.allows(found.ip())).collect();
    if allowed.is_empty() {
        return Err(format!("{host} has no address that is allowed"));
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, private: bool, public: bool) {
        let url = Url::parse(url).unwrap();
        let got = (Reach::Private.check(&url).is_ok(), Reach::Public.check(&url).is_ok());
        assert_eq!(got, (private, public), "{url}");
    }

    #[test]
    fn metadata_is_never_reached_however_it_is_written() {
        check("http://169.254.169.254/latest", false, false);
        check("http://2852039166/", false, false);
        check("http://0xa9.0xfe.0xa9.0xfe/", false, false);
        check("http://[::ffff:169.254.169.254]/", false, false);
        check("http://[::169.254.169.254]/", false, false);
        check("http://[64:ff9b::a9fe:a9fe]/", false, false);
        check("http://[2002:a9fe:a9fe::1]/", false, false);
        check("http://[fe80::1]/", false, false);
        check("http://[fd00:ec2::254]/", false, false);
        check("http://224.0.0.1/", false, false);
        check("http://255.255.255.255/", false, false);
        check("ftp://h/", false, false);
    }

    #[test]
    fn internal_networks_are_the_operators_choice() {
        for host in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[fd12::1]",
            "[::ffff:10.0.0.1]",
        ] {
            check(&format!("http://{host}/"), true, false);
        }
        for host in ["8.8.8.8", "100.128.0.1", "[2606:4700::1]", "[::ffff:8.8.8.8]", "name.example"]
        {
            check(&format!("https://{host}/"), true, true);
        }
    }

    #[test]
    fn a_name_is_reached_only_at_its_allowed_addresses() {
        let found = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mixed = found(&["169.254.169.254:0", "10.0.0.1:0", "8.8.8.8:0"]);
        let of = |reach| allowed(reach, "h", mixed.clone().into_iter());
        assert_eq!(of(Reach::Private), Ok(found(&["10.0.0.1:0", "8.8.8.8:0"])));
        assert_eq!(of(Reach::Public), Ok(found(&["8.8.8.8:0"])));
        let refused = allowed(Reach::Private, "h", found(&["169.254.169.254:0"]).into_iter());
        assert_eq!(refused, Err("h has no address that is allowed".to_owned()));
    }
}
