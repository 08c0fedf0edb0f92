//! Lengths of time and sizes, as a person writes them.

pub(in crate::workflow) mod duration {
    //! `30s`, `1m 30s`, `500ms`; a number means seconds.

    use std::time::Duration;

    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Seconds(u32),
        Text(String),
    }

    impl Given {
        fn read<E: de::Error>(self) -> Result<Duration, E> {
            match self {
                Self::Seconds(seconds) => Ok(Duration::from_secs(seconds.into())),
                Self::Text(text) => text
                    .parse::<jiff::SignedDuration>()
                    .ok()
                    .and_then(|signed| Duration::try_from(signed).ok())
                    .ok_or_else(|| E::custom(format!("'{text}' is not a length of time; write 30s, 500ms or 2m"))),
            }
        }
    }

    /// For editors.
    pub fn schema(_: &mut SchemaGenerator) -> Schema {
        // Less strict than what reads it, and not more: a person may also write `1 hour, 30 minutes` and `PT30S`.
        json_schema!({ "type": ["string", "integer"], "minimum": 0, "pattern": "^[+]?[0-9Pp].*[A-Za-z0-9]$" })
    }

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", duration.as_millis()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Given::deserialize(deserializer)?.read()
    }

    pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        deserialize(deserializer).map(Some)
    }
}

pub(in crate::workflow) mod size {
    //! `256MiB`; a number means bytes.

    use bytesize::ByteSize;
    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Bytes(u64),
        Text(String),
    }

    impl Given {
        fn read<E: de::Error>(self) -> Result<u64, E> {
            match self {
                Self::Bytes(bytes) => Ok(bytes),
                Self::Text(text) => text
                    .parse::<ByteSize>()
                    .map(|size| size.as_u64())
                    .map_err(|_| E::custom(format!("'{text}' is not a size; write 64MiB or 1GiB"))),
            }
        }
    }

    /// For editors.
    pub fn schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^[0-9][0-9.]*[ ]*([KMGTPEkmgtpe]i?)?[Bb]?$";
        json_schema!({ "type": ["string", "integer"], "minimum": 0, "pattern": pattern })
    }

    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(*bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        Given::deserialize(deserializer)?.read()
    }

    pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        deserialize(deserializer).map(Some)
    }
}
