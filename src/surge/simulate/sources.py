"""What the model's figures rest on. A figure that has no source is named as assumed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure is from."""

    figure: str
    """What it is."""
    text: str
    """Who says so, and what was made of it."""
    link: str = ""
    """Where it was read."""


SOURCES = (
    Source(
        "a phone's 3 W",
        "What most phones can get rid of as heat for long: P. Warden, “Smartphone Energy Consumption” (2015), on the book of that name.",
        "https://petewarden.com/2015/10/08/smartphone-energy-consumption/",
    ),
    Source(
        "a phone's wear",
        "A battery keeps 80 % of its capacity after 500 full charges (Apple), and a new one costs 29 to 69 US dollars: AppleWorld.Today "
        "(2019). Taken: 69 dollars; a battery of 15 Wh and a fifth of the work's energy passing through it are assumed.",
        "https://appleworld.today/2019/02/how-to-tell-if-its-time-to-replace-your-iphone-battery",
    ),
    Source(
        "a laptop's 30 W",
        "The middle of 15 to 45 W: M. Bluejay's figures, as eHow gives them (2017).",
        "http://www.ehow.co.uk/facts_7368460_average-power-consumption-laptop.html",
    ),
    Source(
        "a desktop's 74 W",
        "The average of desktops that are on, between 27.5 and 180.8 W: Lawrence Berkeley National Laboratory's table of standby power, as "
        "quoted in 2009. Taken for the power above idle of one that works on all cores.",
        "http://daughternumberthree.blogspot.com/2009/04/your-computer-needs-its-sleep.html",
    ),
    Source(
        "a server's 250 W",
        "One of the first results of SPECpower_ssj2008 had 321 W at full load; 70 W of idling are assumed and subtracted. How it went on: "
        "H. Tröpgen et al., “16 Years of SPEC Power”, arXiv:2411.07062.",
        "http://www.greenitstrategy.com/standards/16-spec-new-standard-for-measuring-server-power-use",
    ),
    Source(
        "electricity at 0.28 and 0.12",
        "Households in the European Union paid 0.284 euros a kWh in the second half of 2022, others from 0.089 (Finland) to 0.276 (Cyprus) "
        "in the second half of 2023: Eurostat, nrg_pc_204 and nrg_pc_205. A euro is taken for a dollar.",
        "https://ec.europa.eu/eurostat/statistics-explained/index.php?title=Electricity_price_statistics",
    ),
    Source(
        "the cloud at 0.0425 and 0.0225 an hour of a vCPU",
        "What buyers go to instead: c5.2xlarge, with 8 vCPUs, at 0.34 US dollars an hour on demand and 0.17 to 0.19 as a spot instance, in "
        "the examples of AWS's guide to EC2 Auto Scaling.",
        "https://docs.amazonaws.cn/en_us/autoscaling/ec2/userguide/weights-spot-price-per-unit-hour-example.html",
    ),
    Source(
        "elasticity around 1.2",
        "Demand is “modestly elastic for public clouds”: Q. Jiang, Y. C. Lee, A. Y. Zomaya, “Price Elasticity of the Enterprise Computing "
        "Resource Market”.",
        "https://zbook.org/read/c6d045_price-elasticity-of-the-enterprise-computing-resource-market.html",
    ),
    Source(
        "how many devices",
        "For comparison: about 700,000 devices with about 4 million cores computed for BOINC's projects. D. P. Anderson, “BOINC: A "
        "Platform for Volunteer Computing”, Journal of Grid Computing 18 (2020).",
        "https://doi.org/10.1007/s10723-019-09497-9",
    ),
    Source(
        "the token's price",
        "The equation of exchange, M V = P Q. That V is not constant is known: “Improving the Equation of Exchange for Cryptoasset "
        "Valuation Using Empirical Data”, arXiv:2403.04914.",
        "https://www.emergentmind.com/papers/2403.04914",
    ),
    Source(
        "assumed",
        "The classes' shares, cores and hours; speeds (1 gigafuel a second is what a small computer's core does); a server's "
        "6,000 dollars over five years; a laptop's and a desktop's wear; every opportunity cost and what owners want for the trouble; "
        "all spreads; how fast agents react; the demand's growth; the token's first price and its restlessness; what a new identity costs.",
    ),
)
"""What each figure rests on."""
