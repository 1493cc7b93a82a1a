//! Scenes: one situation each, told as a sentence. Many have a namesake in OTP's `supervisor_SUITE`.

mod ending;
mod intensity;
mod readiness;
mod restarts;
mod scaling;
mod stopping;
