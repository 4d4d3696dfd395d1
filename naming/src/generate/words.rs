//! Words for readable names: short, plain, easy to spell on the phone, and no matter in which pair.

/// One of 128: seven bits.
pub(super) const ADJECTIVES: [&str; 128] = [
    "able", "agile", "amber", "ample", "apt", "azure", "bold", "brave", "brief", "bright", "brisk", "broad",
    "calm", "candid", "chief", "civil", "clean", "clear", "clever", "cool", "coral", "cosmic", "crisp",
    "daily", "dapper", "deep", "deft", "early", "eager", "easy", "equal", "even", "exact", "fair", "famous",
    "fancy", "fast", "fine", "firm", "first", "fleet", "fond", "frank", "free", "fresh", "full", "gentle",
    "glad", "golden", "good", "grand", "great", "green", "handy", "happy", "hardy", "honest", "humble",
    "ideal", "jolly", "keen", "kind", "large", "light", "lively", "loyal", "lucid", "lucky", "lunar",
    "major", "mellow", "merry", "mild", "modern", "modest", "mutual", "noted", "neat", "new", "nimble",
    "noble", "novel", "open", "pastel", "patient", "placid", "plain", "polite", "prime", "prompt", "proper",
    "proud", "quick", "quiet", "rapid", "rare", "ready", "regal", "rich", "robust", "round", "royal",
    "rustic", "sharp", "shiny", "silent", "silver", "simple", "sleek", "smart", "smooth", "snowy", "solar",
    "solid", "spry", "stable", "steady", "still", "stout", "sunny", "sure", "swift", "tidy", "tranquil",
    "vivid", "warm", "wise", "witty",
];

/// One of 128: seven bits.
pub(super) const NOUNS: [&str; 128] = [
    "acorn", "alder", "anchor", "aspen", "atlas", "badger", "basin", "bay", "beacon", "beaver", "birch",
    "bison", "breeze", "bridge", "brook", "canyon", "cedar", "cliff", "cloud", "clover", "comet", "condor",
    "cove", "crane", "creek", "crest", "curlew", "dawn", "delta", "dove", "dune", "eagle", "elm", "ember",
    "falcon", "fern", "field", "finch", "fjord", "forest", "fox", "garden", "geyser", "glade", "glacier",
    "grove", "harbor", "hare", "hawk", "hazel", "heath", "heron", "hill", "island", "ivy", "jetty",
    "kestrel", "lagoon", "lake", "lark", "laurel", "ledge", "lily", "linden", "lotus", "lynx", "maple",
    "marsh", "marten", "meadow", "mesa", "meteor", "mill", "moon", "moss", "nest", "oak", "oasis", "ocean",
    "orbit", "orchid", "osprey", "otter", "owl", "palm", "path", "peak", "pebble", "pine", "plateau",
    "planet", "plaza", "pond", "poplar", "prairie", "quarry", "quartz", "rain", "raven", "reef", "ridge",
    "river", "robin", "rowan", "sail", "sequoia", "shore", "sky", "slope", "snow", "sparrow", "spring",
    "spruce", "star", "stone", "stork", "stream", "summit", "swan", "thicket", "thrush", "tide", "trail",
    "valley", "walnut", "willow", "wren", "zenith",
];
