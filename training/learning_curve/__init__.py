"""Will more annotation help?"""
