//! The settings that `sordini flows` needs to judge a generated flow.

use super::truth::FlowTruth;

/// A settings file with one `[[flow]]`. `brokers` are those it was sent to, none for lines.
pub fn settings(flow: &FlowTruth, brokers: Option<&str>) -> String {
    // TOML's basic strings escape as JSON's do.
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let brokers = brokers.map(|brokers| format!("\n[kafka]\n\"bootstrap.servers\" = {}\n", text(brokers)));
    let mut file = format!("version = 1\n{}", brokers.unwrap_or_default());
    let name = flow.stages.first().map_or("", String::as_str);
    file.push_str(&format!(
        "\n[[flow]]\nname = {}\nid = {}\ndeadline = \"{}ms\"\n",
        text(name),
        text(&flow.id),
        flow.deadline_ms
    ));
    for (number, topic) in flow.stages.iter().enumerate() {
        file.push_str(&format!("\n[[flow.stage]]\ntopic = {}\nagree = [{}]\n", text(topic), text(&flow.agree)));
        if number == 0 {
            file.push_str(&format!("number = {}\n", text(&flow.number)));
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::watch::WatchFile;

    #[test]
    fn the_settings_are_read_as_they_are_meant() {
        let flow = FlowTruth {
            stages: vec!["orders".to_owned(), "orders.done".to_owned()],
            id: "header:correlation-id".to_owned(),
            number: "header:number".to_owned(),
            agree: "json:/amount".to_owned(),
            deadline_ms: 30_000,
        };
        for brokers in [None, Some("k:9092")] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), settings(&flow, brokers)).unwrap();
            let read = WatchFile::read(file.path()).unwrap();
            assert_eq!(read.kafka.get("bootstrap.servers").map(String::as_str), brokers);
            let rules = read.flows[0].rules().unwrap();
            let stages: Vec<(&str, i64)> =
                rules.flow.stages.iter().map(|stage| (stage.topic.as_str(), stage.deadline_ms)).collect();
            assert_eq!(stages, [("orders", 30_000), ("orders.done", 30_000)]);
            assert_eq!(rules.stages[0].1.number, "header:number".parse().ok());
        }
    }
}
