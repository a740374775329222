"""The container engine: its API, the docker command and the docker SDK. Arguments in, results and EngineError out."""
