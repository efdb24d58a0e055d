//! The API server's journal: who wrote what, for tests that count writes.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::{Error, Result};

/// One write that the API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `system:serviceaccount:NAMESPACE:NAME`, or a certificate's common name.
    pub user: String,
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The resource's plural, with `/status` where that was written.
    pub resource: String,
    /// Empty for what lies in none.
    pub namespace: String,
    /// Empty where the server makes up the name.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

impl Cluster {
    /// All writes so far that `is_wanted`, in order.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn writes(&self, is_wanted: impl Fn(&Write) -> bool) -> Result<Vec<Write>> {
        let path = self.layout().audit_log();
        let text = std::fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
        // The last line may still be being written.
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(events.map(|event| write_of(&event)).filter(is_wanted).collect())
    }
}

fn write_of(event: &Value) -> Write {
    let object = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut resource = text(&object["resource"]);
    if let Some(below) = object["subresource"].as_str() {
        resource = format!("{resource}/{below}");
    }
    Write {
        user: text(&event["user"]["username"]),
        verb: text(&event["verb"]),
        resource,
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0),
    }
}
