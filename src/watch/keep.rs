//! The windows of the groups on disk: one file, replaced whole. Losing it costs history, never an incident, so that one
//! that cannot be read is put aside and begun anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::lag::tracker::State;

const NAME: &str = "groups";
/// Changes with the form of the state.
const MAGIC: &[u8; 8] = b"sordlag3";

pub struct Keep {
    dir: PathBuf,
}

impl Keep {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub fn load(&self) -> State {
        let path = self.dir.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return State::default(),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the windows of the groups cannot be read; they begin anew");
                return State::default();
            }
        };
        match parse(&bytes) {
            Ok(state) => state,
            Err(why) => {
                let aside = self.dir.join(format!("{NAME}.damaged"));
                let kept = fs::rename(&path, &aside).is_ok();
                tracing::error!(path = %path.display(), why, kept, "the windows of the groups are damaged; they begin anew");
                State::default()
            }
        }
    }

    pub fn save(&self, state: &State) {
        if let Err(error) = self.try_save(state) {
            tracing::error!(dir = %self.dir.display(), %error, "the windows of the groups could not be kept");
        }
    }

    fn try_save(&self, state: &State) -> io::Result<()> {
        let body = postcard::to_stdvec(state).map_err(io::Error::other)?;
        fs::create_dir_all(&self.dir)?;
        let tmp = self.dir.join(format!("{NAME}.tmp"));
        let mut file = File::create(&tmp)?;
        file.write_all(MAGIC)?;
        file.write_all(&xxh3_64(&body).to_le_bytes())?;
        file.write_all(&body)?;
        file.sync_data()?;
        fs::rename(&tmp, self.dir.join(NAME))?;
        File::open(&self.dir)?.sync_all()
    }
}

fn parse(bytes: &[u8]) -> Result<State, &'static str> {
    let (head, body) = bytes.split_at_checked(16).ok_or("it is too short")?;
    if &head[..8] != MAGIC {
        return Err("it is of another version");
    }
    if head[8..] != xxh3_64(body).to_le_bytes() {
        return Err("it fails its checksum");
    }
    postcard::from_bytes(body).map_err(|_| "it does not read as it should")
}
