//! Which rules judge: sordini's own, or Burrow's to the letter.

use super::burrow;
use super::rules::{self, Thresholds};
use super::verdict::Judgement;
use super::window::Window;

#[derive(Clone, Debug, PartialEq)]
pub enum Rules {
    Default(Thresholds),
    Burrow(burrow::Settings),
}

impl Default for Rules {
    fn default() -> Self {
        Rules::Default(Thresholds::default())
    }
}

impl Rules {
    pub fn judge(&self, window: &Window<'_>) -> Judgement {
        match self {
            Rules::Default(thresholds) => rules::judge(window, thresholds),
            Rules::Burrow(settings) => burrow::judge(window, settings),
        }
    }

    pub fn allowed_lag(&self) -> i64 {
        match self {
            Rules::Default(thresholds) => thresholds.allowed_lag,
            Rules::Burrow(settings) => settings.allowed_lag,
        }
    }
}
