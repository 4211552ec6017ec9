//! Banners of allowed clients: the program that sends them, and the maps.
//!
//! In: texts, each for one handshake. Out: the kernel sends it before the daemon's own first bytes.
//! Invariant: a socket leaves the table when its banner was sent, or when it is closed: the kernel removes a
//! closed socket by itself.
//! Source: linux net/core/sock_map.c.

use std::mem::forget;

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{HashMap, MapData, SockHash},
    programs::SkMsg,
};
use tcpw_common::{banner::Banner, key::BannerKey};

use super::{load::Kernel, maps::open, programs::Hook, users::found};

/// The tables of banners.
pub struct BannerMaps {
    texts: HashMap<MapData, BannerKey, Banner>,
    sockets: SockHash<MapData, u64>,
    /// The program is attached.
    is_ready: bool,
}

impl Kernel {
    /// Attaches the program for a policy with banners for allowed clients, unless it is attached.
    ///
    /// # Errors
    /// The kernel refuses the program: such clients get no banner.
    pub fn begin_banners(&mut self) -> Result<()> {
        if self.banners.is_ready {
            return Ok(());
        }
        let hook = Hook::SendBanner;
        hook.load(&mut self.ebpf, &self.links.btf)?;
        let program = hook.get_as::<SkMsg>(&mut self.ebpf)?;
        let link = program
            .attach(self.banners.sockets.fd())
            .with_context(|| format!("attach program {}", hook.program()))?;
        // Dropping the link would detach the program. It stays attached as long as the map, which may be pinned.
        forget(program.take_link(link)?);
        self.banners.is_ready = true;
        Ok(())
    }
}

impl BannerMaps {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self { texts: open(ebpf, "BANNERS")?, sockets: open(ebpf, "BANNER_SOCKETS")?, is_ready: false })
    }

    /// Leaves a banner for a handshake.
    ///
    /// # Errors
    /// The table is full, or the program is not attached.
    pub fn leave(&mut self, key: &BannerKey, banner: &Banner) -> Result<()> {
        if !self.is_ready {
            bail!("this kernel has no program {}", Hook::SendBanner.program());
        }
        self.texts.insert(key, banner, 0).context("leave a banner")
    }

    /// Removes a banner. Returns whether it was still there.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn take_back(&mut self, key: &BannerKey) -> Result<bool> {
        Ok(found(self.texts.remove(key)).context("remove a banner")?.is_some())
    }

    /// The handshakes for which a banner was left.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn left(&self) -> Result<Vec<BannerKey>> {
        self.texts.keys().collect::<Result<_, _>>().context("read the banners")
    }

    /// From here on the program does not see the data a socket sends.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn dismiss(&mut self, cookie: u64) -> Result<()> {
        // A closed socket is no longer in the table.
        found(self.sockets.remove(&cookie)).context("remove the socket of a banner").map(drop)
    }

    /// How many sockets have not sent their banner yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sockets.keys().filter(Result::is_ok).count()
    }
}
