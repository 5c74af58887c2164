"""What every reader of weights may run into."""

# What reading a wrong or damaged file ends in. json, zipfile, zlib, safetensors, torch and the models' libraries have
# their own errors, among them a bare Exception where tokenizers cannot read tokenizer.json.
UNREADABLE = Exception
