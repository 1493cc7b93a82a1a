//! Scenes: one situation each, told as a sentence. Many have a namesake in OTP's `supervisor_SUITE`.

mod crowding;
mod ending;
mod health;
mod intensity;
mod readiness;
mod reloads;
mod restarts;
mod scaling;
mod stopping;
