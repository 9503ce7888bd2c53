//! As much of STUN (RFC 8489) as it takes to see whom a browser's ICE check is meant for. Checks neither integrity nor
//! fingerprint: that is the agent's, who has the password.

const HEADER: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USER_NAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;

/// A binding request, which is what ICE checks a path with.
#[derive(Debug, PartialEq, Eq)]
pub struct BindingRequest<'a> {
    /// The value of its USERNAME; None: it has none that is protected by its integrity.
    pub user_name: Option<&'a [u8]>,
}

impl<'a> BindingRequest<'a> {
    /// None: it is something else.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, attributes) = datagram.split_at_checked(HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let sound = header[..2] == BINDING_REQUEST && header[4..8] == MAGIC_COOKIE && length == attributes.len();
        sound.then(|| Self { user_name: user_name(attributes) })
    }
}

/// Of several the first counts, and none behind the integrity, section 14.5.
fn user_name(mut attributes: &[u8]) -> Option<&[u8]> {
    while let Some((&[a, b, c, d], rest)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([c, d]));
        let value = rest.get(..length)?;
        match u16::from_be_bytes([a, b]) {
            USER_NAME => return Some(value),
            MESSAGE_INTEGRITY | MESSAGE_INTEGRITY_SHA256 => return None,
            _ => {}
        }
        // Values are padded to four bytes, section 14.
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap();
        let mut bytes = [&kind.to_be_bytes()[..], &length.to_be_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        [&BINDING_REQUEST[..], &length, &MAGIC_COOKIE, &[7; 12], attributes].concat()
    }

    /// As a browser checks a path.
    pub(crate) fn check(user_name: &str) -> Vec<u8> {
        message(&[attribute(USER_NAME, user_name.as_bytes()), attribute(MESSAGE_INTEGRITY, &[1; 20])].concat())
    }

    /// RFC 5769, section 2.1: a request of another hand than ours.
    const SAMPLE: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\
        \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \
        \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
        \x80\x28\x00\x04\xe5\x7a\x3b\xcf";

    #[test]
    fn the_sample_of_rfc_5769_is_understood() {
        assert_eq!(BindingRequest::parse(SAMPLE), Some(BindingRequest { user_name: Some(b"evtj:h6vY") }));
        for cut in 0..SAMPLE.len() {
            assert_eq!(BindingRequest::parse(&SAMPLE[..cut]), None, "of {cut} bytes");
        }
    }

    #[test]
    fn other_messages_are_not_meant() {
        let request = check("a:b");
        assert!(BindingRequest::parse(&request).is_some());
        for (at, byte) in [(0, 1), (1, 0x11), (3, 1), (4, 0x20), (7, 0)] {
            let mut other = request.clone();
            other[at] = byte;
            assert_eq!(BindingRequest::parse(&other), None, "byte {at}");
        }
        assert_eq!(BindingRequest::parse(b""), None);
    }

    #[test]
    fn only_a_user_name_in_its_place_counts() {
        let user_name = |attributes: &[Vec<u8>]| {
            let message = message(&attributes.concat());
            BindingRequest::parse(&message).unwrap().user_name.map(<[u8]>::to_vec)
        };
        let (name, other) = (attribute(USER_NAME, b"one"), attribute(USER_NAME, b"other"));
        let integrity = attribute(MESSAGE_INTEGRITY, &[0; 20]);
        assert_eq!(user_name(&[]), None);
        assert_eq!(user_name(&[name.clone(), other]), Some(b"one".to_vec()));
        assert_eq!(user_name(&[attribute(0x8022, b"x"), name.clone()]), Some(b"one".to_vec()));
        assert_eq!(user_name(&[integrity, name]), None);
        // Longer than what is there.
        assert_eq!(user_name(&[vec![0, 6, 0xff, 0xff, 1, 2, 3, 4]]), None);
        assert_eq!(user_name(&[vec![0x80, 0x22, 0, 1, 1]]), None);
    }

    proptest! {
        #[test]
        fn user_names_are_found(before in prop::collection::vec(any::<u8>(), 0..9), name in prop::collection::vec(any::<u8>(), 0..513)) {
            let message = message(&[attribute(0x0024, &before), attribute(USER_NAME, &name)].concat());
            prop_assert_eq!(BindingRequest::parse(&message), Some(BindingRequest { user_name: Some(&name) }));
        }
    }
}
