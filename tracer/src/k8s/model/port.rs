//! Ports by number or name, and transport protocols.

use std::fmt;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A transport protocol as Kubernetes names it; TCP where a field is absent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// From the protocol number of an IP header.
    pub const fn from_ip_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// From user input, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An "int or string" port: a number, or the name of a container port, which can differ from pod to pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PortRef {
    Number(u16),
    Name(String),
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for PortRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u16(*number),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for PortRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;
        // Written out because an untagged enum's error says only that no variant matched.
        impl Visitor<'_> for PortVisitor {
            type Value = PortRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number (0 to 65535) or the name of a container port")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<PortRef, E> {
                let Ok(number) = u16::try_from(number) else {
                    return Err(E::invalid_value(Unexpected::Unsigned(number), &self));
                };
                Ok(PortRef::Number(number))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<PortRef, E> {
                let Ok(number) = u16::try_from(number) else {
                    return Err(E::invalid_value(Unexpected::Signed(number), &self));
                };
                Ok(PortRef::Number(number))
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<PortRef, E> {
                if name.is_empty() {
                    return Err(E::invalid_value(Unexpected::Str(name), &self));
                }
                Ok(PortRef::Name(name.to_owned()))
            }
        }
        deserializer.deserialize_any(PortVisitor).map_err(D::Error::custom)
    }
}
