//! The sequence models that are compared.

use std::path::Path;

use anyhow::{Context, Result, bail};
use engram_policy::memory::none::NoneConfig;
use engram_policy::{Gradient, MemoryConfig, PolicyConfig};
use engram_service::config::{ConfigError, part};

/// A sequence model and the name that it goes by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SequenceModel {
    /// Its file's.
    pub(crate) name: String,
    /// Its settings.
    pub(crate) config: PolicyConfig,
}

impl SequenceModel {
    /// The model `first` and those `against` it. What is `set` is set in all of them, except where
    /// one of `against` has no such key.
    pub(crate) fn all(
        first: &str,
        against: &[String],
        set: &[String],
        configs: &Path,
    ) -> Result<Vec<SequenceModel>> {
        if let Some(other) = set.iter().find(|text| !text.starts_with("seq.")) {
            bail!("`--set {other}`: only the sequence model can be set here, as in seq.KEY=VALUE");
        }
        let mut models = vec![SequenceModel::read(first, set, configs)?];
        for name in against {
            let unknown = |text: &&String| {
                let alone = std::slice::from_ref(*text);
                let read = part::<PolicyConfig>(configs, "seq", name, alone);
                matches!(read, Err(ConfigError::UnknownKey { place, .. }) if place == "--set")
            };
            let known: Vec<String> = set.iter().filter(|text| !unknown(text)).cloned().collect();
            let model = SequenceModel::read(name, &known, configs)?;
            if models.iter().any(|other| other.name == model.name) {
                bail!("{} is named twice; a model is compared with others", model.name);
            }
            models.push(model);
        }
        Ok(models)
    }

    fn read(name: &str, set: &[String], configs: &Path) -> Result<SequenceModel> {
        let (name, config) = part::<PolicyConfig>(configs, "seq", name, set)?;
        config.validate().context("in [seq]")?;
        Ok(SequenceModel { name, config })
    }

    /// Kind of gradient across the starts of unrolls; with `whole` episodes there are none.
    pub(crate) fn gradient(&self, whole: bool) -> &'static str {
        match &self.config.memory {
            MemoryConfig::None(NoneConfig {}) => "–",
            memory if memory.gradient() == Gradient::Rtrl => "rtrl",
            _ if whole => "bptt",
            _ => "tbptt",
        }
    }
}

#[cfg(test)]
mod tests {
    use engram_policy::memory::elstm::ElstmConfig;

    use super::*;

    fn models(first: &str, against: &[&str], set: &[&str]) -> Result<Vec<SequenceModel>> {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        SequenceModel::all(first, &owned(against), &owned(set), &configs)
    }

    #[test]
    fn what_is_set_is_set_in_every_model_that_has_the_key() {
        let models =
            models("elstm-rtrl", &["elstm-tbptt", "feedforward"], &["seq.memory.hidden=7"]);
        let models = models.unwrap();
        let memories: Vec<&MemoryConfig> = models.iter().map(|m| &m.config.memory).collect();
        let elstm =
            |gradient| MemoryConfig::Elstm(ElstmConfig { hidden: 7, gradient, forget_bias: 2.0 });
        assert_eq!(
            memories,
            [&elstm(Gradient::Rtrl), &elstm(Gradient::Tbptt), &MemoryConfig::None(NoneConfig {})]
        );
        let gradients: Vec<_> = models.iter().map(|model| model.gradient(false)).collect();
        assert_eq!(gradients, ["rtrl", "tbptt", "–"]);
        assert_eq!(models[1].gradient(true), "bptt");
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right() {
        let refuse = |first: &str, against: &[&str], set: &[&str]| {
            format!("{:#}", models(first, against, set).unwrap_err())
        };
        assert!(refuse("elstm-rtlr", &[], &[]).contains("did you mean `elstm-rtrl`?"));
        assert!(refuse("lstm", &["elstm-tbpt"], &[]).contains("`elstm-tbptt`"));
        assert!(refuse("lstm", &[], &["seq.memory.hiden=1"]).contains("hidden"));
        assert!(refuse("lstm", &["feedforward"], &["seq.memory.hidden=0"]).contains("hidden"));
        assert!(refuse("lstm", &[], &["env.delay=3"]).contains("only the sequence model"));
        assert!(refuse("lstm", &["lstm"], &[]).contains("named twice"));
    }
}
