//! The file as it is written: every key there is, with nothing checked but the shape. Reading refuses unknown keys;
//! writing leaves out what is missing. This is the whole schema of version 1.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Declares an object of the file, all of whose keys may be missing.
macro_rules! object {
    ($(#[$doc:meta])* $type:ident { $( $field:ident: $field_type:ty, )+ }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "an object")]
        pub(crate) struct $type {
            $( #[serde(skip_serializing_if = "Option::is_none")] pub(crate) $field: Option<$field_type>, )+
        }
    };
}

object! {
    /// The file.
    Config {
        version: Value,
        policy: Value,
        logs: Vec<Log>,
        destinations: Vec<Destination>,
        budget: Value,
    }
}

object! {
    /// `logs[]`
    Log {
        name: Value,
        files: Files,
        syslog: Value,
        container: Value,
        read_from: Value,
        max_line_bytes: Value,
        rotate: Rotate,
        forward: Forward,
    }
}

object! {
    /// `logs[].files`
    Files {
        include: Vec<Value>,
        exclude: Vec<Value>,
    }
}

object! {
    /// `logs[].rotate`
    Rotate {
        when: When,
        method: Value,
        allow_loss: Value,
        reopen: Reopen,
        archive: Archive,
        retention: Retention,
        mode: Value,
    }
}

object! {
    /// `logs[].rotate.when`
    When {
        size: Value,
        schedule: Value,
        time_zone: Value,
        min_size: Value,
        if_empty: Value,
    }
}

object! {
    /// `logs[].rotate.reopen`
    Reopen {
        preset: Value,
        signal: Signal,
        http: Value,
        fifo: Value,
        none: Nothing,
        timeout: Value,
        fallback: Value,
    }
}

object! {
    /// `logs[].rotate.reopen.signal`
    Signal {
        name: Value,
        process: Process,
    }
}

object! {
    /// `logs[].rotate.reopen.signal.process`
    Process {
        command_pattern: Value,
        pid_file: Value,
    }
}

/// `logs[].rotate.reopen.none`, an object without keys.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "an object without keys, {}")]
pub(crate) struct Nothing {}

object! {
    /// `logs[].rotate.archive`
    Archive {
        directory: Value,
        naming: Value,
        compression: Value,
    }
}

object! {
    /// `logs[].rotate.retention`
    Retention {
        count: Value,
        age: Value,
        total_size: Value,
        when_unconfirmed: Value,
    }
}

object! {
    /// `logs[].forward`
    Forward {
        destinations: Vec<Reference>,
        hostname: Value,
        hostname_from: Value,
        app_name: Value,
        facility: Value,
        severity: Value,
        metadata: Vec<Param>,
        include: Value,
        exclude: Value,
        multiline: Value,
        parse: Value,
        redact: Value,
    }
}

object! {
    /// `logs[].forward.destinations[]`
    Reference {
        name: Value,
    }
}

object! {
    /// `logs[].forward.metadata[]` and `destinations[].syslog.structuredData[].params[]`
    Param {
        name: Value,
        value: Value,
        from: Value,
    }
}

object! {
    /// `destinations[]`
    Destination {
        name: Value,
        syslog: Syslog,
    }
}

object! {
    /// `destinations[].syslog`
    Syslog {
        preset: Value,
        endpoints: Vec<Endpoint>,
        transport: Value,
        format: Value,
        framing: Value,
        max_message_bytes: Value,
        structured_data: Vec<SdElement>,
        position_element: Value,
        tls: Tls,
        delivery: Delivery,
    }
}

object! {
    /// `destinations[].syslog.endpoints[]`
    Endpoint {
        host: Value,
        port: Value,
    }
}

object! {
    /// `destinations[].syslog.structuredData[]`
    SdElement {
        id: Value,
        id_file: Value,
        params: Vec<Param>,
    }
}

object! {
    /// `destinations[].syslog.tls`
    Tls {
        server_name: Value,
        ca_file: Value,
        client_certificate: ClientCertificate,
        fingerprints: Vec<Value>,
        min_version: Value,
    }
}

object! {
    /// `destinations[].syslog.tls.clientCertificate`
    ClientCertificate {
        certificate_file: Value,
        key_file: Value,
    }
}

object! {
    /// `destinations[].syslog.delivery`
    Delivery {
        mode: Value,
        replay_margin: Value,
        max_bytes_per_second: Value,
        roll_bytes: Value,
        roll_age: Value,
        roll_idle: Value,
        connect_timeout: Value,
        handshake_timeout: Value,
        write_timeout: Value,
        close_timeout: Value,
    }
}
