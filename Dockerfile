# The course in JupyterLab, on the CPU, for a user who is not root:
#
#     docker build -t varlite . && docker run --rm -it -p 127.0.0.1:8888:8888 varlite
#
# and open the http://127.0.0.1:8888 address that it prints, token and all. Without 127.0.0.1 in -p the whole network
# could reach it. Binder builds this file, too, and asks for a user of number 1000.
FROM python:3.13-slim

RUN useradd --create-home --uid 1000 reader && install -d -o reader -g reader /home/reader/varlite
USER reader
WORKDIR /home/reader/varlite
ENV PATH=/home/reader/.venv/bin:$PATH

# The packages first, from these files alone: a change of the code leaves this layer as it is.
COPY --chown=reader:reader pyproject.toml constraints.txt README.md LICENSE ./
RUN python -m venv /home/reader/.venv \
    && pip install --no-cache-dir --disable-pip-version-check -c constraints.txt \
       --extra-index-url https://download.pytorch.org/whl/cpu -e '.[notebooks]'
COPY --chown=reader:reader . .

EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--ServerApp.log_level=WARN", \
     "--LabApp.default_url=/lab/tree/notebooks/00_quickstart.ipynb"]
