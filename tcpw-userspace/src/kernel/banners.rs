//! Banners of clients that are let in: the program that sends them, and the maps.
//!
//! In: texts, each for one handshake. Out: the kernel sends it before the daemon's own first bytes.
//! Invariant: a socket leaves the table when its text is out, or it is closed: the kernel sees to the
//! latter.
//! Source: linux net/core/sock_map.c.

use std::mem::forget;

use anyhow::{Context as _, Result, bail};
use aya::{
    maps::{HashMap, MapData, MapError, SockHash},
    programs::{ProgramError, SkMsg},
};
use tcpw_common::{banner::Banner, key::BannerKey};

use super::load::Kernel;

const PROGRAM: &str = "send_banner";

impl Kernel {
    /// Makes ready for a policy with banners for clients it allows; nothing to do if it is.
    ///
    /// # Errors
    /// The kernel refuses the program: such clients get none.
    pub fn begin_banners(&mut self) -> Result<()> {
        if self.has_banners {
            return Ok(());
        }
        let map = self.ebpf.map("BANNER_SOCKETS").context("the BPF object has no map BANNER_SOCKETS")?;
        let speakers =
            SockHash::<_, u64>::try_from(map)?.fd().try_clone().context("keep map BANNER_SOCKETS")?;
        let program = self.ebpf.program_mut(PROGRAM).context("not in the BPF object")?;
        let program: &mut SkMsg = program.try_into()?;
        match program.load() {
            Ok(()) => {}
            Err(ProgramError::LoadError { io_error, verifier_log }) => {
                bail!("the kernel refuses program {PROGRAM}: {io_error}\n{verifier_log}")
            }
            Err(error) => return Err(error).with_context(|| format!("load program {PROGRAM}")),
        }
        let link = program.attach(&speakers).with_context(|| format!("attach program {PROGRAM}"))?;
        // Dropping it would detach the program; it shall stay as long as the map, which may be pinned.
        forget(program.take_link(link)?);
        self.has_banners = true;
        Ok(())
    }

    /// Leaves a text for a handshake: both ends, the client's initial sequence number, and the cookie of
    /// the network namespace in the place of a socket's.
    ///
    /// # Errors
    /// The table is full, or the program is not there.
    pub fn leave_banner(&mut self, key: &BannerKey, banner: &Banner) -> Result<()> {
        if !self.has_banners {
            bail!("this kernel has no program {PROGRAM}");
        }
        self.banners_mut()?.insert(key, banner, 0).context("leave a banner")
    }

    /// Takes back a text; whether it was there still.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn take_back_banner(&mut self, key: &BannerKey) -> Result<bool> {
        was_there(self.banners_mut()?.remove(key)).context("take back a banner")
    }

    /// The handshakes for which a text was left.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn left_banners(&self) -> Result<Vec<BannerKey>> {
        let map = self.ebpf.map("BANNERS").context("the BPF object has no map BANNERS")?;
        let map: HashMap<_, BannerKey, Banner> = HashMap::try_from(map)?;
        map.keys().collect::<Result<_, _>>().context("read the banners")
    }

    /// From here on what a socket sends is its own again.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn dismiss_speaker(&mut self, cookie: u64) -> Result<()> {
        let map = self.ebpf.map_mut("BANNER_SOCKETS").context("the BPF object has no map BANNER_SOCKETS")?;
        let mut speakers: SockHash<_, u64> = SockHash::try_from(map)?;
        // One that is closed is gone.
        was_there(speakers.remove(&cookie)).context("dismiss the socket of a banner").map(drop)
    }

    /// How many sockets have not sent anything yet, and will send a banner first.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn speakers(&self) -> Result<usize> {
        let map = self.ebpf.map("BANNER_SOCKETS").context("the BPF object has no map BANNER_SOCKETS")?;
        let speakers: SockHash<_, u64> = SockHash::try_from(map)?;
        Ok(speakers.keys().filter(Result::is_ok).count())
    }

    fn banners_mut(&mut self) -> Result<HashMap<&mut MapData, BannerKey, Banner>> {
        let map = self.ebpf.map_mut("BANNERS").context("the BPF object has no map BANNERS")?;
        Ok(HashMap::try_from(map)?)
    }
}

fn was_there(removed: Result<(), MapError>) -> Result<bool, MapError> {
    match removed {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
