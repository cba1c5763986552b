//! What is found is what a full outer join in the database finds, exactly.

use std::collections::BTreeMap;

use postgres::Client;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::common::Pair;

const COLUMNS: &str = "id bigint PRIMARY KEY, amount numeric(12,2), status text, note text, at timestamp(3)";

struct Shop {
    pair: Pair,
    client: Client,
    random: StdRng,
}

/// What a row says, in SQL and in JSON.
#[derive(Clone)]
struct Row {
    cents: i64,
    status: &'static str,
    note: Option<String>,
    at_ms: i64,
}

impl Row {
    fn random(random: &mut StdRng) -> Self {
        const STATUS: [&str; 4] = ["new", "paid", "sent", "héld, 'quoted' | and\tmore"];
        Self {
            cents: random.random_range(-1_000_000..1_000_000_000),
            status: STATUS[random.random_range(0..STATUS.len())],
            note: random.random_bool(0.7).then(|| format!("note {}", random.random::<u16>())),
            at_ms: 1_700_000_000_000 + random.random_range(0..100_000_000),
        }
    }

    fn json(&self, key: i64) -> String {
        let sign = if self.cents < 0 { "-" } else { "" };
        let cents = self.cents.abs();
        serde_json::json!({
            "id": key,
            "amount": format!("{sign}{}.{:02}", cents / 100, cents % 100),
            "status": self.status,
            "note": self.note,
            "at": self.at_ms,
        })
        .to_string()
    }
}

impl Shop {
    /// The topic has many versions of every key, the tables `items` and `truth` the last one of each.
    fn new(seed: u64, keys: i64, partitions: i32) -> Self {
        let pair = Pair::new("oracle", partitions);
        let mut client = pair.table(COLUMNS);
        client.batch_execute("CREATE TABLE truth (LIKE items INCLUDING ALL)").expect("a second table");
        let mut random = StdRng::seed_from_u64(seed);
        let producer = pair.kafka.producer(&[]);
        let mut last: BTreeMap<i64, Option<Row>> = BTreeMap::new();
        for _ in 0..keys * 3 {
            let key = random.random_range(0..keys);
            let row = random.random_bool(0.9).then(|| Row::random(&mut random));
            producer.send(&pair.record(key, row.as_ref().map(|row| row.json(key)).as_deref()));
            last.insert(key, row);
        }
        producer.flush();
        pair.commit_all();
        let rows: Vec<(i64, Row)> = last.into_iter().filter_map(|(key, row)| Some((key, row?))).collect();
        let keys: Vec<i64> = rows.iter().map(|(key, _)| *key).collect();
        let cents: Vec<i64> = rows.iter().map(|(_, row)| row.cents).collect();
        let status: Vec<&str> = rows.iter().map(|(_, row)| row.status).collect();
        let notes: Vec<Option<&str>> = rows.iter().map(|(_, row)| row.note.as_deref()).collect();
        let times: Vec<i64> = rows.iter().map(|(_, row)| row.at_ms).collect();
        let insert = "INSERT INTO truth SELECT k, c::numeric / 100, s, n, timestamp 'epoch' + t * interval '1 ms' \
                      FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[]) AS r(k, c, s, n, t)";
        client.execute(insert, &[&keys, &cents, &status, &notes, &times]).expect("rows");
        client.batch_execute("INSERT INTO items SELECT * FROM truth").expect("a faithful copy");
        Self { pair, client, random }
    }

    /// Changes about so many rows of the table, at random.
    fn mutate(&mut self, rows: usize) {
        for _ in 0..rows {
            let key = self.random.random_range(0..2_500_i64);
            let change = match self.random.random_range(0..9) {
                0 => "DELETE FROM items WHERE id = $1",
                1 => "INSERT INTO items VALUES ($1, 1.00, 'new', NULL, now()) ON CONFLICT DO NOTHING",
                2 => "UPDATE items SET amount = amount + 0.01 WHERE id = $1",
                3 => "UPDATE items SET amount = -amount WHERE id = $1",
                4 => "UPDATE items SET note = '' WHERE id = $1 AND note IS NULL",
                5 => "UPDATE items SET note = NULL WHERE id = $1",
                6 => "UPDATE items SET status = status || ' ' WHERE id = $1",
                7 => "UPDATE items SET at = at + interval '1 ms' WHERE id = $1",
                _ => "UPDATE items SET (status, note) = (note, status) WHERE id = $1",
            };
            self.client.execute(change, &[&key]).expect("the table can be changed");
        }
    }

    /// What SQL says of the two tables.
    fn truth(&mut self) -> Vec<(String, String)> {
        let statement = "SELECT CASE WHEN i IS NULL THEN 'missing' WHEN t IS NULL THEN 'extra' ELSE 'differs' END, \
                         coalesce(t.id, i.id)::text FROM truth t FULL JOIN items i USING (id) WHERE t IS DISTINCT FROM i";
        let rows = self.client.query(statement, &[]).expect("the tables can be compared");
        let mut drift: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        drift.sort();
        drift
    }
}

#[test]
fn finds_what_a_full_outer_join_finds() {
    let mut shop = Shop::new(7, 2_000, 3);
    let said = shop.pair.audit(&[]);
    said.must_exit(0);
    for round in 0..4 {
        shop.mutate(10_usize.pow(round));
        let said = shop.pair.audit(&[]);
        said.must_exit(1);
        // An older version is a difference too; which of them is judged elsewhere.
        let mut found = said.drift();
        found.iter_mut().filter(|(kind, _)| kind == "stale").for_each(|(kind, _)| *kind = "differs".to_owned());
        found.sort();
        assert_eq!(found, shop.truth(), "round {round}");
    }
}
