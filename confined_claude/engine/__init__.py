"""The container engine: the docker command and the docker SDK. Arguments in, results and EngineError out."""
