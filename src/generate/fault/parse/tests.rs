use super::*;

fn kind(spec: &str) -> FaultKind {
    spec.parse::<Fault>().unwrap().kind
}

#[test]
fn rates_are_shares_or_percentages() {
    assert_eq!(kind("lose=0.25"), FaultKind::Lose(0.25));
    assert_eq!(kind("swap=25%"), FaultKind::Swap(0.25));
    assert_eq!(kind("lose-burst=50%x7"), FaultKind::LoseBurst { rate: 0.5, length: 7 });
    for wrong in ["lose=0", "lose=101%", "lose=-1%", "lose=NaN", "lose=inf", "lose=", "lose", "lose=x"] {
        assert!(matches!(wrong.parse::<Fault>(), Err(FaultError::Rate { .. })), "{wrong}");
    }
}

#[test]
fn a_wrong_fault_says_what_is_right() {
    assert!(matches!("lose-every=1".parse::<Fault>(), Err(FaultError::Count { least: 2, .. })));
    assert!(matches!("head-loss=-3".parse::<Fault>(), Err(FaultError::Count { .. })));
    assert!(matches!("lose-burst=1%".parse::<Fault>(), Err(FaultError::Burst { .. })));
    assert!(matches!("misnumber-reset=1".parse::<Fault>(), Err(FaultError::NoValue { .. })));
    assert!("forget=1%".parse::<Fault>().unwrap_err().to_string().contains("lose=RATE"));
}

#[test]
fn the_name_of_a_kind_is_the_name_it_was_parsed_from() {
    let specs = [
        "lose-every=7",
        "lose=1%",
        "lose-burst=1%x5",
        "duplicate=1%",
        "duplicate-far=1%",
        "conflict=1%",
        "swap=1%",
        "late=1%",
        "late-beyond=1%",
        "head-loss=3",
        "tail-loss=3",
        "misnumber-reset",
        "abort-transaction=1%",
        "tombstones=1%",
        "lose-where=after:50%",
        "retry-comb=1%:1s",
        "drop-every=7",
        "drop-where=larger:4KiB",
        "drop=1%",
        "swap-field=1%",
        "answer-late=1%",
        "answer-unasked=1%",
    ];
    for spec in specs {
        assert_eq!(spec.split('=').next(), Some(kind(spec).name()));
    }
}

#[test]
fn a_period_has_parameters_that_may_be_left_out() {
    let plain = Every { n: 100, rate: 1.0, residue: 99, jitter: 0, restart: None };
    assert_eq!(kind("lose-every=100"), FaultKind::LoseEvery(plain));
    let full = Every { rate: 0.3, residue: 7, jitter: 1, restart: Some(5000), ..plain };
    assert_eq!(kind("drop-every=100:rate=30%:residue=7:jitter=1:restart=5000"), FaultKind::DropEvery(full));
    for wrong in ["100:", "100:7", "100:residue=100", "100:jitter=50", "100:hue=1"] {
        let error = format!("lose-every={wrong}").parse::<Fault>().unwrap_err();
        assert!(matches!(error, FaultError::Every { .. }), "{wrong}: {error}");
        assert!(error.to_string().contains("lose-every=N:rate="), "{error}");
    }
    assert!(matches!("lose-every=100:restart=99".parse::<Fault>(), Err(FaultError::Count { least: 100, .. })));
    assert!(matches!("lose-every=100:rate=2".parse::<Fault>(), Err(FaultError::Rate { .. })));
}

#[test]
fn an_attribute_names_its_value_and_a_rate() {
    let tied = |attribute, rate| FaultKind::LoseWhere(Where { attribute, rate });
    assert_eq!(kind("lose-where=producer:p2"), tied(Attribute::Producer(2), 1.0));
    assert_eq!(kind("lose-where=partition:0@50%"), tied(Attribute::Partition(0), 0.5));
    assert_eq!(kind("lose-where=key-class:8:3@5%"), tied(Attribute::KeyClass { modulus: 8, residue: 3 }, 0.05));
    assert_eq!(kind("lose-where=larger:4KiB"), tied(Attribute::Larger(4096), 1.0));
    assert_eq!(kind("lose-where=after:60%@2%"), tied(Attribute::After(0.6), 0.02));
    for wrong in ["", "p2", "producer:2", "partition:-1", "key-class:8:8", "key-class:65:1", "larger:x", "after:100%"] {
        let error = format!("lose-where={wrong}").parse::<Fault>().unwrap_err();
        assert!(matches!(error, FaultError::Where { .. }), "{wrong}: {error}");
    }
}

#[test]
fn a_comb_has_rising_delays() {
    let comb = |has_jitter| FaultKind::RetryComb(Comb { rate: 0.01, delays_ms: vec![500, 2000], has_jitter });
    assert_eq!(kind("retry-comb=1%:500ms,2s"), comb(false));
    assert_eq!(kind("retry-comb=1%:500ms,2s:jitter"), comb(true));
    for wrong in ["1%", "1%:", "1%:2s,1s", "1%:0s", "1%:1s,1s", "1%:1s:x", "1%:1s:jitter:x"] {
        let error = format!("retry-comb={wrong}").parse::<Fault>().unwrap_err();
        assert!(matches!(error, FaultError::Comb { .. }), "{wrong}: {error}");
    }
}
