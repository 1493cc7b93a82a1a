use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> Host {
    Host::from_numbers(text).unwrap()
}

#[test]
fn every_documented_form_means_what_the_table_says() {
    let port = 3001;
    let cases = [
        ("3001", Addr::Tcp { host: Host::Any, port }),
        (":3001", Addr::Tcp { host: Host::Any, port }),
        ("127.0.0.1:3001", Addr::Tcp { host: ip("127.0.0.1"), port }),
        ("[::1]:3001", Addr::Tcp { host: ip("::1"), port }),
        ("[fe80::1%eth0]:3001", Addr::Tcp { host: ip("fe80::1%eth0"), port }),
        ("localhost:3001", Addr::Tcp { host: Host::Name("localhost".into()), port }),
        ("unix:/run/app.sock", Addr::Unix("/run/app.sock".into())),
        ("unix:app.sock", Addr::Unix("app.sock".into())),
        ("unix:@app", Addr::Abstract(b"app".to_vec())),
        ("unix:@a\\x00b", Addr::Abstract(b"a\0b".to_vec())),
        ("udp:3001", Addr::Udp { host: Host::Any, port }),
        ("udp:[::1]:3001", Addr::Udp { host: ip("::1"), port }),
        ("fd:3", Addr::Fd(3)),
    ];
    for (text, addr) in cases {
        assert_eq!(text.parse(), Ok(addr), "{text}");
    }
}

#[test]
fn what_is_no_address_says_what_where_and_what_to_type() {
    let cases = [
        ("", "it is empty", ":3001"),
        ("localhost", "it has no port", "localhost:3001"),
        ("/run/app.sock", "it has no port", "unix:/run/app.sock"),
        (":70000", "port \"70000\" is not a number from 0 to 65535", ":3001"),
        (":+80", "port \"+80\"", ":3001"),
        ("host:", "port \"\"", ":3001"),
        ("::1", "IPv6 address \"::1\" needs brackets", "[::1]:3001"),
        ("::1:3001", "needs brackets", "[::1:3001]:3001"),
        ("[::1]", "it has no port", "3001"),
        ("[::1:3001", "host", "[::1]:3001"),
        ("1.2.3.256:80", "host \"1.2.3.256\"", "127.0.0.1:3001"),
        ("a b:80", "host \"a b\"", "localhost:3001"),
        ("unix:", "Unix socket is empty", "unix:/run/app.sock"),
        ("unix:@", "Unix socket is empty", "unix:@app"),
        ("unix:/a\0b", "NUL", "unix:/run/app.sock"),
        ("fd:x", "descriptor \"x\" is not a number", "fd:3"),
        ("fd:", "descriptor", "fd:3"),
        ("udp:unix:/x", "\"unix:/x\" cannot be a UDP address", "udp::5353"),
    ];
    for (text, what, hint) in cases {
        let error = text.parse::<Addr>().unwrap_err();
        assert!(error.to_string().contains(what), "{text}: {error}");
        assert!(error.hint().contains(hint), "{text}: {}", error.hint());
    }
}

#[test]
fn a_hostile_name_cannot_play_tricks_on_a_terminal() {
    let addr = Addr::Abstract(b"\x1b[2J\\\xff\n".to_vec());
    assert_eq!(addr.to_string(), "unix:@\\x1b[2J\\x5c\\xff\\x0a");
    assert_eq!(addr.to_string().parse(), Ok(addr));
}

fn hosts() -> impl Strategy<Value = Host> {
    prop_oneof![
        Just(Host::Any),
        any::<IpAddr>().prop_map(Host::Ip),
        (any::<Ipv6Addr>(), "[a-z]{1,4}[0-9]").prop_map(|(ip, zone)| Host::Zoned(ip, zone)),
        "[a-z][a-z0-9.-]{0,20}".prop_map(Host::Name),
    ]
}

fn addrs() -> impl Strategy<Value = Addr> {
    let path =
        prop::collection::vec(1..=255_u8, 1..120).prop_filter("a relative name", |name| name[0] != b'@');
    prop_oneof![
        (hosts(), any::<u16>()).prop_map(|(host, port)| Addr::Tcp { host, port }),
        (hosts(), any::<u16>()).prop_map(|(host, port)| Addr::Udp { host, port }),
        path.prop_map(|name| Addr::Unix(OsStr::from_bytes(&name).into())),
        prop::collection::vec(any::<u8>(), 1..107).prop_map(Addr::Abstract),
        any::<u32>().prop_map(Addr::Fd),
    ]
}

proptest! {
    #[test]
    fn what_is_printed_can_be_read_back(addr in addrs()) {
        prop_assert_eq!(addr.to_string().parse::<Addr>(), Ok(addr));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        if let Err(error) = text.parse::<Addr>() {
            prop_assert!(!error.hint().is_empty());
        }
    }
}
