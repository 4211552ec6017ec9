//! What the tables say about a connection: the reference evaluator's answer.

use std::{collections::BTreeMap, fs, net::IpAddr, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use tcpw_tests::Sandbox;
use tcpw_userspace::{
    evaluate::{
        Unknown, evaluate,
        request::{AccessRequest, Verdict},
    },
    parse::{
        parse,
        rule::{Tables, Text},
        text::{FileText, Texts},
    },
};

use crate::attempts::Service;

/// The tables of one moment.
pub(crate) struct Prediction {
    tables: Tables,
}

impl Prediction {
    /// Reads the sandbox's tables as they are now.
    pub(crate) fn new(sandbox: &Sandbox) -> Result<Self> {
        let texts = Texts {
            allow: read(sandbox.hosts_allow())?,
            deny: read(sandbox.hosts_deny())?,
            files: BTreeMap::new(),
        };
        Ok(Self { tables: parse(&texts).tables })
    }

    /// Whether the client is allowed.
    pub(crate) fn allows(&self, client: IpAddr, server: IpAddr, service: &Service) -> bool {
        let daemons: Vec<Text> = service.names.iter().map(|name| name.as_bytes().into()).collect();
        let (client, server) = (service.spell(client), service.spell(server));
        let request = AccessRequest {
            daemons: &daemons,
            client_address: Some(&client),
            server_address: Some(&server),
            server_port: Some(service.port),
            ..AccessRequest::default()
        };
        match evaluate(&self.tables, &request, &Unknown).verdict {
            Verdict::Allow => true,
            Verdict::Refuse => false,
        }
    }
}

fn read(path: PathBuf) -> Result<(Arc<PathBuf>, FileText)> {
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok((Arc::new(path), FileText::Bytes(bytes.into())))
}
