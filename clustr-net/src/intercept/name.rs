//! What a program binds: the bytes of its `sockaddr`, understood.
//!
//! Owns the layouts of `sockaddr_in`, `sockaddr_in6` and `sockaddr_un`. Pure. Called by `responder`.
//!
//! Sources: ip(7), ipv6(7), unix(7).

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::addr::{Addr, Host};

/// The longest that is looked at: `sizeof(struct sockaddr_storage)`.
pub(super) const NAME_BYTES_MAX: usize = 128;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An address that is about to be bound.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Name {
    Inet(SocketAddr),
    /// As it was given: it may be relative to the caller's folder.
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl Name {
    /// `None` for other families, for an unnamed Unix socket (autobind), and for what the kernel would refuse.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (family, rest) = bytes.split_first_chunk::<2>()?;
        match u16::from_ne_bytes(*family) {
            AF_INET => {
                let (port, rest) = rest.split_first_chunk::<2>()?;
                let ip = Ipv4Addr::from(*rest.first_chunk::<4>()?);
                Some(Self::Inet((ip, u16::from_be_bytes(*port)).into()))
            }
            AF_INET6 => {
                let (port, rest) = rest.split_first_chunk::<2>()?;
                let (flow, rest) = rest.split_first_chunk::<4>()?;
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                let scope = rest.first_chunk::<4>().map_or(0, |scope| u32::from_ne_bytes(*scope));
                let (port, flow) = (u16::from_be_bytes(*port), u32::from_be_bytes(*flow));
                Some(Self::Inet(SocketAddrV6::new(Ipv6Addr::from(*ip), port, flow, scope).into()))
            }
            AF_UNIX => match rest.split_first()? {
                (0, name) => Some(Self::Abstract(name.to_vec())),
                (_, _) => {
                    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
                    Some(Self::Path(Path::new(OsStr::from_bytes(&rest[..end])).to_owned()))
                }
            },
            _ => None,
        }
    }

    /// As an address; `folder` is the caller's.
    pub(super) fn addr(&self, is_datagram: bool, folder: &Path) -> Addr {
        match self {
            Self::Inet(addr) => inet(*addr, is_datagram),
            Self::Path(path) => Addr::Unix(folder.join(path)),
            Self::Abstract(name) => Addr::Abstract(name.clone()),
        }
    }
}

/// An internet address, with its zone where it has one.
pub(super) fn inet(addr: SocketAddr, is_datagram: bool) -> Addr {
    let host = match addr {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => Host::Zoned(*v6.ip(), v6.scope_id().to_string()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => Host::Ip(addr.ip()),
    };
    let port = addr.port();
    if is_datagram { Addr::Udp { host, port } } else { Addr::Tcp { host, port } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(family: u16, rest: &[u8]) -> Option<Name> {
        Name::parse(&[&family.to_ne_bytes(), rest].concat())
    }

    #[test]
    fn addresses_of_every_family_are_understood() {
        let v4 = [&[0x0b, 0xb9, 127, 0, 0, 1][..], &[0; 8]].concat();
        assert_eq!(of(AF_INET, &v4), Some(Name::Inet("127.0.0.1:3001".parse().unwrap())));
        let mut v6 = [0; 26];
        (v6[1], v6[6], v6[7], v6[21], v6[22]) = (80, 0xfe, 0x80, 1, 2);
        let name = of(AF_INET6, &v6).unwrap();
        let addr = name.addr(false, Path::new("/"));
        assert_eq!(addr.to_string(), "[fe80::1%2]:80");
        assert_eq!(name.addr(true, Path::new("/")).to_string(), "udp:[fe80::1%2]:80");
    }

    #[test]
    fn unix_names_end_where_the_kernel_says() {
        let path = of(AF_UNIX, b"run/app.sock\0junk").unwrap();
        assert_eq!(path.addr(false, Path::new("/srv")), Addr::Unix("/srv/run/app.sock".into()));
        let path = of(AF_UNIX, b"/run/app.sock").unwrap();
        assert_eq!(path.addr(false, Path::new("/srv")), Addr::Unix("/run/app.sock".into()));
        assert_eq!(of(AF_UNIX, b"\0app\0x"), Some(Name::Abstract(b"app\0x".to_vec())));
        assert_eq!(of(AF_UNIX, b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..NAME_BYTES_MAX)) {
            let _ = Name::parse(&bytes);
        }
    }
}
