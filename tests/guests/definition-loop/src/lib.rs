//! A step whose `definition` and `configure` never return. Its `run` would.
use keyhole_sdk::__private::{Failure, Guest, Input, bindings, export_step};

struct Step;

impl Guest for Step {
    fn definition() -> String {
        forever()
    }

    fn configure(_prop: String, _state: String) -> Result<String, Failure> {
        forever()
    }

    fn run(_input: Input) -> Result<String, Failure> {
        Ok("null".to_owned())
    }
}

fn forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

export_step!(Step with_types_in bindings);
