#![no_main]

use std::sync::LazyLock;
use vault_fuzz::paths::Place;

static PLACE: LazyLock<Place> = LazyLock::new(Place::new);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    PLACE.run(bytes);
});
