//! `broker.yaml` and the environment, read into typed settings. The only room that knows serde_yaml.
