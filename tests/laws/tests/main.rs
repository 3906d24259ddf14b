//! The laws of Bowline: one program, which is compiled and linked once.

mod clocks;
mod conditions;
mod converges;
mod copies;
mod crash_anywhere;
mod disks;
mod explains;
mod history;
mod leaving;
mod look_is_not_touch;
mod member;
mod no_data_loss;
mod pure_plan;
mod secrets_stay_in_files;
mod sources;
mod taken_out;
mod tidy;
